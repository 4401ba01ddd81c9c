# demo_summary.py: the closing line of the demo, from the JSON file of `tarn replay --verify`.
#
# Fails where fewer than two traces were replayed, nothing was moved, or a byte was wrong.
import json
import sys


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        run = json.load(file)
    values = {result["name"]: result["median"] for result in run["results"]}

    def per_trace(figure):
        return [v for name, v in values.items() if name.endswith("." + figure)]

    traces, mismatches = len(per_trace("mismatches")), sum(per_trace("mismatches"))
    moved_bytes = sum(per_trace("moved_bytes"))
    print(
        f"demo: {traces} traces replayed on {run['machine']['on']},"
        f" {sum(per_trace('events')):.0f} events,"
        f" {moved_bytes / (1 << 30):.1f} GiB moved, {mismatches:.0f} mismatches"
    )
    return 0 if traces >= 2 and moved_bytes > 0 and mismatches == 0 else 1


sys.exit(main())
