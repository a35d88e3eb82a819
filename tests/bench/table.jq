# SPDX-License-Identifier: MIT
# A report as lines of text.
def padded($width): tostring | . + " " * ([$width - length, 1] | max);
.ratios as $ratios
| .results[]
| . as $result
| [$ratios[] | select(.case == $result.case and $result.subject == "evnf") | "\(.median) × \(.to)"] as $compared
| "  " + (.case | padded(22)) + (.subject | padded(10)) + ("\(.median) \(.unit)" | padded(26))
    + ("\(.min) to \(.max)" | padded(20)) + ($compared | join(", "))
