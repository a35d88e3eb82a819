# SPDX-License-Identifier: MIT
# Draws what bars.jq says into the file named by `output`: horizontal bars in groups, with their values.
height = 48 * rows + 250
from_top(pixels) = 1 - pixels / height
set terminal pngcairo size 1600, height font 'DejaVu Sans,18' background '#ffffff'
set output output
set datafile separator tab

color(subject) = subject eq 'evnf' ? 0x1f6fb2 : subject eq 'bare' ? 0x93c1e3 : \
                 subject eq 'iptables' ? 0xe08a3c : subject eq 'nftables' ? 0xc9a227 : \
                 subject eq 'haproxy' ? 0x6a9f58 : subject eq 'spread' ? 0x6f757c : \
                 subject eq 'evnf-no-offload' ? 0x5aa6a0 : 0xa3a8ae

set lmargin at screen 0.19
set rmargin at screen 0.97
set tmargin at screen from_top(152.0)
set bmargin at screen from_top(height - 90.0)
set label headline at screen 0.02, screen from_top(38.0) left font 'DejaVu Sans Bold,26' textcolor '#202124'
set label circumstances at screen 0.02, screen from_top(78.0) left font 'DejaVu Sans,15' textcolor '#5f6368'
set key at screen 0.19, screen from_top(122.0) left horizontal Left reverse samplen 1 width 2 textcolor '#202124'
set border 2 linecolor '#5f6368'
set xrange [0:right]
set yrange [rows - 0.3:-0.7]
set xtics scale 0 textcolor '#5f6368'
set ytics scale 0 textcolor '#202124'
set grid xtics linetype 1 linecolor '#e4e6e8'
set xlabel unit textcolor '#5f6368'
set style fill solid 1 noborder

of(subject, value) = strcol(5) eq subject ? value : NaN
plot for [subject in subjects] $bars using (of(subject, $2 / 2)):1:($2 / 2):(0.4) with boxxyerror \
         linecolor rgb color(subject) title subject, \
     $bars using 2:1:3:4 with xerrorbars pointtype -1 linecolor '#202124' linewidth 1.5 notitle, \
     $bars using 4:1:6 with labels left offset 1, 0 textcolor '#202124' notitle, \
     $names using (0):1:ytic(2) with dots linecolor '#ffffff' notitle
