# planting.py: what a planted defect is.
#
# `find` stands exactly once in the file and is replaced; several replacements are tuples. `broken`
# says what is wrong then. `first` names the programs that are likely to see it, so that most
# mutants cost one of them; the others follow in the order of mutants.PROGRAMS. `piece` names the
# museum's piece about the same defect, which then has to see it alone.
import collections

Mutant = collections.namedtuple("Mutant", "name broken file find replace first piece")


def planter(table):
    """The function that adds to a table."""

    def plant(name, broken, file, find, replace, first="", piece=None):
        table.append(Mutant(name, broken, file, find, replace, first.split(), piece))

    return plant
