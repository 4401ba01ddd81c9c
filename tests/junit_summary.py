# junit_summary.py: counts what a ctest run did, from its JUnit file; says why tests were skipped.
#
# usage: junit_summary.py FILE CTEST_EXIT_STATUS
# The first line is "PASSED FAILED SKIPPED"; a line for each failed and each skipped test follows,
# and one for each that passed and closed with "figures: ...".
import sys
import xml.etree.ElementTree as ElementTree

# What ctest writes as the reason of a test that asked to be skipped. A test that could not be
# started has the status "notrun" as well, and is a failure.
SKIPPED_BY_ITSELF = ("SKIP_RETURN_CODE=", "SKIP_REGULAR_EXPRESSION_MATCHED")


def last_line(case):
    lines = [line.strip() for line in (case.findtext("system-out") or "").splitlines()]
    lines = [line for line in lines if line]
    return lines[-1] if lines else "it printed no reason"


def main():
    path, ctest_status = sys.argv[1], int(sys.argv[2])
    passed, notes, failed, skipped = 0, [], 0, 0
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        name, status = case.get("name"), case.get("status")
        skip = case.find("skipped")
        reason = skip.get("message") or "" if skip is not None else ""
        if status == "run":
            passed += 1
            if last_line(case).startswith("figures: "):
                notes.append(f"{name}: {last_line(case)[len('figures: '):]}")
        elif status == "disabled":
            skipped += 1
            notes.append(f"skipped {name}: disabled")
        elif status == "notrun" and reason.startswith(SKIPPED_BY_ITSELF):
            skipped += 1
            notes.append(f"skipped {name}: {last_line(case)}")
        else:
            failed += 1
            notes.append(f"FAILED {name}")
            output = (case.findtext("system-out") or "").splitlines()
            notes += ["    " + line for line in output[-60:]]
    if ctest_status != 0 and failed == 0:
        failed += 1
        notes.append(f"FAILED ctest itself, with exit status {ctest_status}")
    print(passed, failed, skipped)
    for note in notes:
        print(note)


main()
