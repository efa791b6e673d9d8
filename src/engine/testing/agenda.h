// A simulation's clock, its list of what is to happen, and its dice.
//
// Deterministic: the same seed gives the same story. One thread at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <utility>

#include "resource/events.h"

namespace zerrow::engine::testing {

class Random {
 public:
  explicit Random(uint64_t seed) : random_(seed) {}
  /// In [0, 1).
  double Unit() { return static_cast<double>(random_() >> 11) * 0x1p-53; }
  bool Chance(double p) { return Unit() < p; }
  /// In [0, n).
  size_t Below(size_t n) { return random_() % n; }

 private:
  std::mt19937_64 random_;
};

class Agenda {
 public:
  resource::Time now() const { return now_; }
  /// What is due at the same time happens in the order in which it was added.
  void In(double seconds, std::function<void()> what) {
    due_.emplace(std::pair(now_ + seconds, count_++), std::move(what));
  }
  std::optional<resource::Time> next() const {
    if (due_.empty()) return std::nullopt;
    return due_.begin()->first.first;
  }
  void MoveTo(resource::Time time) { now_ = std::max(now_, time); }
  void RunNext() {
    const auto entry = due_.extract(due_.begin());
    MoveTo(entry.key().first);
    entry.mapped()();
  }

 private:
  resource::Time now_ = 0;
  uint64_t count_ = 0;
  std::map<std::pair<resource::Time, uint64_t>, std::function<void()>> due_;
};

/// The first promise that was broken; a simulation goes on until somebody looks.
class Verdict {
 public:
  void Expect(bool kept, const char* promise, const std::string& whose = "") {
    if (!kept && broken_.empty()) broken_ = whose.empty() ? promise : whose + ": " + promise;
  }
  const std::string& broken() const { return broken_; }

 private:
  std::string broken_;
};

}  // namespace zerrow::engine::testing
