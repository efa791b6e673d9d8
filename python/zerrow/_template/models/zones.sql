-- The file's name is the model's; its inputs are the tables that it names.
SELECT
  zone,
  count(*) AS trips,
  round(avg(fare_per_km), 2) AS fare_per_km,
  round(100 * avg(tip_share), 1) AS tip_percent
FROM tipped
GROUP BY zone
ORDER BY zone
