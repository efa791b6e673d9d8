#include "engine/observations.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace zerrow::engine {

namespace {

struct Point {
  double x = 0;
  double y = 0;
};

// What doesn't grow with the input of a point's value is at most `base`.
double Proportional(const Point& at, double x, double base) {
  const double fixed = std::min(at.y, base);
  return at.x > 0 ? fixed + (at.y - fixed) * (x / at.x) : at.y;
}

double OnLine(const Point& a, const Point& b, double x) {
  return a.y + (b.y - a.y) * ((x - a.x) / (b.x - a.x));
}

// `points`: by rising x, at least one; none is at `x` or between it and the nearest ones' values.
double Outside(const std::vector<Point>& points, double x, double base) {
  const bool above = x > points.back().x;
  const Point& near = above ? points.back() : points.front();
  if (points.size() == 1) return Proportional(near, x, base);
  const Point& next = above ? points[points.size() - 2] : points[1];
  const double line = OnLine(near, next, x);
  return above ? std::max(near.y, line) : std::clamp(line, Proportional(near, x, base), near.y);
}

double At(const std::vector<Point>& points, double x, double base) {
  if (x < points.front().x || x > points.back().x) return Outside(points, x, base);
  const auto upper = std::ranges::lower_bound(points, x, {}, &Point::x);
  return upper->x == x ? upper->y : OnLine(*std::prev(upper), *upper, x);
}

// One point for each size: its largest input, and the most that was taken.
template <typename Field>
std::vector<Point> PointsOf(const std::vector<Observation>& all, Field field) {
  std::map<int, Point> points;
  for (const Observation& seen : all) {
    Point& point = points[Observations::SizeOf(seen.input_bytes)];
    point.x = std::max(point.x, static_cast<double>(seen.input_bytes));
    point.y = std::max(point.y, static_cast<double>(seen.*field));
  }
  std::vector<Point> sorted;
  for (const auto& [size, point] : points) sorted.push_back(point);
  return sorted;
}

template <typename Field>
double PredictField(const std::vector<Observation>& all, Field field, int64_t input_bytes,
                    double base, double most) {
  double value = At(PointsOf(all, field), static_cast<double>(input_bytes), base);
  for (const Observation& seen : all) {
    if (seen.input_bytes > input_bytes) continue;
    value = std::max(value, static_cast<double>(seen.*field));
  }
  return std::clamp(value, 0.0, most);
}

}  // namespace

bool Observation::IsSane() const {
  const auto bytes_are_sane = [](int64_t bytes) { return bytes >= 0 && bytes <= kMostBytes; };
  return bytes_are_sane(input_bytes) && bytes_are_sane(table_bytes) && bytes_are_sane(new_bytes) &&
         bytes_are_sane(peak_bytes) && run_s >= 0 && run_s <= kMostSeconds;
}

int Observations::SizeOf(int64_t input_bytes) {
  if (input_bytes <= 0) return 0;
  return 1 + static_cast<int>(std::lround(2 * std::log2(static_cast<double>(input_bytes))));
}

void Observations::Add(const Observation& observation) {
  const int size = SizeOf(observation.input_bytes);
  const auto is_of_size = [size](const Observation& seen) {
    return SizeOf(seen.input_bytes) == size;
  };
  if (std::ranges::count_if(all_, is_of_size) >= static_cast<std::ptrdiff_t>(kMostOfSize)) {
    all_.erase(std::ranges::find_if(all_, is_of_size));
  } else if (all_.size() >= kMost) {
    all_.erase(all_.begin());
  }
  all_.push_back(observation);
}

std::optional<Observation> Observations::Predict(int64_t input_bytes) const {
  if (all_.empty()) return std::nullopt;
  constexpr auto kMostBytes = static_cast<double>(Observation::kMostBytes);
  const auto bytes = [&](auto field, double base) {
    return static_cast<int64_t>(PredictField(all_, field, input_bytes, base, kMostBytes));
  };
  Observation expected;
  expected.input_bytes = input_bytes;
  expected.table_bytes = bytes(&Observation::table_bytes, 0);
  expected.new_bytes = bytes(&Observation::new_bytes, 0);
  expected.peak_bytes = bytes(&Observation::peak_bytes, static_cast<double>(kBaseBytes));
  expected.run_s =
      PredictField(all_, &Observation::run_s, input_bytes, 0, Observation::kMostSeconds);
  return expected;
}

}  // namespace zerrow::engine
