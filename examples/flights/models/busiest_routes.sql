-- zerrow: name=busiest_routes engine=duckdb
SELECT
    d.origin,
    d.dest,
    a.name AS destination,
    count(*) AS flights,
    median(d.arr_delay) AS median_arrival_delay,
    count(DISTINCT d.carrier) AS carriers
FROM departures AS d
LEFT JOIN airports AS a ON a.faa = d.dest
GROUP BY ALL
ORDER BY flights DESC, d.origin, d.dest
LIMIT $top
