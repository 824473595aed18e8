# How cost grows: the least-squares line through (log x, log cost) of each series of `point` lines of bench/growth.
#
# Points whose cost is 0 have no logarithm and are not counted. Fewer than two different x: no line.

$1 == "point" && $5 > 0 && $3 > 0 {
    key = $2 " " $4
    if (!(key in n))
        keys[++nkeys] = key
    x = log($3)
    y = log($5)
    n[key]++
    sx[key] += x
    sy[key] += y
    sxx[key] += x * x
    sxy[key] += x * y
}

END {
    for (i = 1; i <= nkeys; i++) {
        key = keys[i]
        d = n[key] * sxx[key] - sx[key] * sx[key]
        if (n[key] > 1 && d > 1e-9)
            printf "slope %s %.3f %d\n", key, (n[key] * sxy[key] - sx[key] * sy[key]) / d, n[key]
    }
}
