# SPDX-License-Identifier: MIT
# A report as lines of text.
def padded($width): tostring | . + " " * ([$width - length, 1] | max);
.ratios as $ratios
| .results[]
| . as $result
| [$ratios[] | select(.case == $result.case and .subject == $result.subject) | "\(.median) × \(.to)"] as $compared
| "  " + (.case | padded(22)) + (.subject | padded(16)) + ("\(.median) \(.unit)" | padded(26))
    + ("\(.min) to \(.max)" | padded(20)) + ($compared | join(", "))
