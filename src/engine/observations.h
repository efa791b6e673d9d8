// What attempts of the same code took at inputs of some sizes, and what that says of another size.
//
// Plain values, bounded: of inputs that are about as large the last few attempts are kept, of all
// sizes together the last kMost.
//
// The rule: between two sizes that were seen, what is between their values, on a line; of several
// attempts at one size the most that any took. Beyond the largest the line through the two largest
// sizes goes on, if it rises; with one size alone values grow as the input does, but for what a
// process takes anyway. Below the smallest likewise, down to nothing. Never less than was seen at
// a smaller input. So a size that was met once is known, and what is guessed lies near what was
// seen: the peaks of many tasks are lines over their inputs' sizes (Witt, Wagner & Leser,
// "Feedback-Based Resource Allocation for Batch Scheduling of Scientific Workflows", HPCS 2019),
// but those of many others aren't (Lehmann et al., "Ponder", arXiv 2408.00047), so that no line is
// laid through all that was seen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace zerrow::engine {

struct Observation {
  /// More than anything takes: sums of some of them don't overflow.
  static constexpr int64_t kMostBytes = int64_t{1} << 50;
  static constexpr double kMostSeconds = 1e9;

  int64_t input_bytes = 0;
  int64_t table_bytes = 0;  // of its output, whoever stored them
  int64_t new_bytes = 0;    // of these, what it stored
  int64_t peak_bytes = 0;   // private memory and what it stored, at most at once
  double run_s = 0;

  /// All is within the bounds above, and not negative.
  bool IsSane() const;

  friend bool operator==(const Observation&, const Observation&) = default;
};

class Observations {
 public:
  /// Attempts of one size, and of all.
  static constexpr size_t kMostOfSize = 3;
  static constexpr size_t kMost = 36;
  /// What a process takes of its own, at least: it doesn't grow with the input.
  static constexpr int64_t kBaseBytes = int64_t{32} << 20;

  /// Inputs are about as large if this is the same: sizes are a factor of the root of 2 apart.
  static int SizeOf(int64_t input_bytes);

  /// A sane one, newer than all before.
  void Add(const Observation& observation);
  /// Nullopt: there is none.
  std::optional<Observation> Predict(int64_t input_bytes) const;

  const std::vector<Observation>& all() const { return all_; }

 private:
  std::vector<Observation> all_;  // oldest first
};

}  // namespace zerrow::engine
