"""All rows of the fault table: importing this fills `fault_table.FAULTS`."""

import faults_of_the_camera
import faults_of_the_images
import faults_of_the_model
import faults_of_the_questions
import faults_of_the_transforms
from fault_table import FAULTS

MODULES = (faults_of_the_camera, faults_of_the_images, faults_of_the_transforms, faults_of_the_questions, faults_of_the_model)

__all__ = ["FAULTS", "MODULES"]
