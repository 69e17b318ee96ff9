# SPDX-License-Identifier: BSD-3-Clause
"""The table of docs/reliability.md: families of cases x how the runs ended."""

ENDS = ("away", "home", "lost device, paused", "died with its owner")


def rows(results):
    families = {}
    for result in results:
        row = families.setdefault(result["family"], {"runs": 0, "met": 0, "operator": 0, "bad": 0})
        row["runs"] += 1
        row["met"] += bool(result["facts"].get("struck"))
        row["operator"] += "operator" in result["facts"]
        row[result["end"]] = row.get(result["end"], 0) + 1
        row["bad"] += any(result["said"].values()) or result["end"] == "trouble"
    return families


def write(options, results, cases, counts):
    with open(options.table, "w", encoding="utf-8") as file:
        file.write(f"`make check-campaign CAMPAIGN_RUNS={options.runs} "
                   f"CAMPAIGN_SEED={options.seed}`: {len(results)} runs, "
                   f"{len({r['case'] for r in results})} of {len(cases)} cases.\n\n")
        file.write("| what is done | runs | fault met | away | home | died with its owner | "
                   "device lost | by an operator | against a promise |\n")
        file.write("| --- |" + " ---: |" * 8 + "\n")
        total = {}
        for family, row in sorted(rows(results).items()):
            columns = [row["runs"], row["met"], row.get("away", 0), row.get("home", 0),
                       row.get(ENDS[3], 0), row.get(ENDS[2], 0), row["operator"], row["bad"]]
            file.write(f"| {family} | " + " | ".join(map(str, columns)) + " |\n")
            total = {n: total.get(n, 0) + value for n, value in enumerate(columns)}
        file.write("| **all** | " + " | ".join(str(value) for value in total.values()) + " |\n\n")
        file.write(f"lost {counts['lost']}, executed after another "
                   f"{counts['executed after another']}, unpromised ends {counts['unpromised']}, "
                   f"unexplained {counts['unexplained']}.\n")
