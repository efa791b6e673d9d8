// Which table goes when there is no room: a pure function from candidates to a choice.
//
// A table can be *swapped*: what is idle of its segments is written to disk and read back before it
// is needed; or *rolled back*: it is dropped, and its task runs again when it is needed. Either has
// a price in seconds. The table goes for which
//     restore_s / (freed_bytes * steps to its next use)
// is lowest: GreedyDual-Size's cost per byte (Cao & Irani, 1997) over the distance that a DAG knows
// where a cache would have to guess. That the adaptive policy takes the cheaper of both ways
// follows Blaze (EuroSys '24) and Capuchin (ASPLOS '20).
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string_view>

#include "resource/ledger.h"
#include "zerrow/run.h"

namespace zerrow::resource {

using zerrow::EvictionPolicy;

inline constexpr double kNever = std::numeric_limits<double>::infinity();

/// What is known of the disk: corrected by each write and read.
class DiskSpeed {
 public:
  void NoteWrite(int64_t bytes, double took_s) { Note(write_bytes_per_s_, bytes, took_s); }
  void NoteRead(int64_t bytes, double took_s) { Note(read_bytes_per_s_, bytes, took_s); }
  /// To be written and read back, or only read back.
  double RestoreSeconds(int64_t unwritten_bytes, int64_t copied_bytes) const;
  double ReadSeconds(int64_t bytes) const { return RestoreSeconds(0, bytes); }

 private:
  static void Note(double& bytes_per_s, int64_t bytes, double took_s);

  // Of a usual SSD, until something was measured.
  double write_bytes_per_s_ = 500e6;
  double read_bytes_per_s_ = 1000e6;
};

/// A table that could go.
struct Candidate {
  TaskId table;
  Idle idle;
  double remake_s = kNever;  // of its task, and of those that must run again before
  int steps = 1;             // tasks that end before its next reader starts, at least 1

  friend bool operator==(const Candidate&, const Candidate&) = default;
};

struct Eviction {
  enum class How { kSwap, kRollback };
  TaskId table;
  How how = How::kSwap;
  int64_t freed_bytes = 0;
  double restore_s = 0;
  double score = 0;  // the lowest goes first
};

/// The policy's way for one table; nullopt: it frees nothing or may not.
std::optional<Eviction> Weigh(EvictionPolicy policy, const Candidate& candidate,
                              const DiskSpeed& disk);

/// The best of those that cost at most `max_restore_s`; of equals the first.
std::optional<Eviction> Choose(EvictionPolicy policy, std::span<const Candidate> candidates,
                               const DiskSpeed& disk, double max_restore_s = kNever);

}  // namespace zerrow::resource
