"""What was seen and why it was refused or accepted, drawn again from a referral or a recorded question."""

from roboref_node.explaining.cases import Case, Explanation, cases_of, explain

__all__ = ["Case", "Explanation", "cases_of", "explain"]
