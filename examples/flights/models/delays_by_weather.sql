-- How long do departures wait in which weather? DataFusion, as no engine is named.
SELECT
    CASE
        WHEN w.visib < 1 THEN '1 fog'
        WHEN w.wind_speed > 25 THEN '2 storm'
        WHEN w.precip > 0 AND w.temp < 32 THEN '3 snow or ice'
        WHEN w.precip > 0 THEN '4 rain'
        ELSE '5 fair'
    END AS weather,
    count(*) AS flights,
    avg(f.dep_delay) AS mean_delay,
    avg(CASE WHEN f.late THEN 100.0 ELSE 0.0 END) AS late_percent
FROM punctuality_by_flight AS f
JOIN weather AS w ON f.origin = w.origin AND f.time_hour = w.time_hour
GROUP BY 1
ORDER BY 1
