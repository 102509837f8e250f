"""From words to commands: the grammar of what people say to the robot."""

from roboref_node.language.dialogue import INTERRUPTS, Act, Dialogue, read_dialogue
from roboref_node.language.single import find_crowd, find_obstacle, names_more, split_things
from roboref_node.language.skeleton import NEGATIONS, VERBS, Clause, parse_clause, split_clauses, without_politeness, words_of

__all__ = [
    "INTERRUPTS", "NEGATIONS", "VERBS", "Act", "Clause", "Dialogue", "find_crowd", "find_obstacle", "names_more", "parse_clause",
    "read_dialogue", "split_clauses", "split_things", "without_politeness", "words_of",
]  # fmt: skip
