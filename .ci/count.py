"""Add up pytest's JUnit reports and print the total as one closing line; fails where no test ran.

python count.py first.xml second.xml
"""

import sys
import xml.etree.ElementTree as xml


def main() -> int:
    total = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for path in sys.argv[1:]:
        for suite in xml.parse(path).getroot().iter("testsuite"):
            for key in total:
                total[key] += int(suite.get(key, 0))
    failed = total["failures"] + total["errors"]
    passed = total["tests"] - failed - total["skipped"]
    print(f"{passed} passed, {failed} failed, {total['skipped']} skipped")
    return int(failed > 0 or passed == 0)


if __name__ == "__main__":
    sys.exit(main())
