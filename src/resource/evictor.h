// Carries evictions out: knows which tables are candidates, and what is written and read.
//
// The candidates are kept by the score that they had when something about them changed, and the
// first few are weighed anew before one is chosen: a choice costs about the same whatever their
// number, and is the best of those. Pure, one thread at a time.
#pragma once

#include "resource/board.h"
#include "resource/eviction.h"
#include "resource/lifecycle.h"
#include "resource/lineage.h"

namespace zerrow::resource {

class Evictor {
 public:
  /// What room is made for.
  struct Purpose {
    Reason reason = Reason::kMakeRoom;
    Figures why = {};
    std::optional<TaskId> beneficiary = {};  // whose inputs stay
    double max_restore_s = kNever;           // for which a table may go
    bool last_resort = false;                // nothing else can run: whatever can go may
    bool for_readers = true;  // what those read who wait for the beneficiary's table stays, too
  };

  /// All outlive it.
  Evictor(Board& board, Lifecycle& lifecycle, Lineage& lineage, EvictionPolicy policy)
      : board_(board), lifecycle_(lifecycle), lineage_(lineage), policy_(policy) {}

  /// Lets so many bytes of the scope's memory go, or begins to. Returns how many it can't.
  int64_t MakeRoom(Scope scope, int64_t bytes, const Purpose& purpose);
  void OnSwappedOut(const SegmentSwappedOut& event);
  /// Weighs the tables about which something has changed.
  void Refresh();
  /// Weighs all tables.
  void RefreshAll();
  DiskSpeed& disk() { return disk_; }
  bool drops_only() const { return policy_ == EvictionPolicy::kRollback; }

  /// The segment has left memory, or come back.
  void RerankReaders(SegmentId segment);

 private:
  Holder HolderOf(TaskId table) const;
  double RemakeSeconds(TaskId table, const Idle& idle);
  Candidate CandidateOf(TaskId table);
  Candidate Within(const Purpose& purpose, Candidate candidate) const;
  int StepsToNextUse(TaskId table);
  void Weigh(TaskId table);
  void RefreshStuck(Scope scope);
  std::vector<size_t> SparedFor(const Purpose& purpose) const;
  std::vector<Candidate> Gather(Scope scope, int64_t wanted_bytes, const Purpose& purpose);
  std::optional<Eviction> TakeBest(std::vector<Candidate>& gathered, const Purpose& purpose);
  void Evict(const Eviction& eviction, const Purpose& purpose);
  void Uncache(SegmentId segment, const Purpose& purpose);
  void Unload(SegmentId segment, TaskId table);
  bool DiskIsFull() const;
  bool FitsBesideOthers(TaskId table) const;
  void NoteHolders(SegmentId segment);

  Board& board_;
  Lifecycle& lifecycle_;
  Lineage& lineage_;
  const EvictionPolicy policy_;
  DiskSpeed disk_;
  std::optional<int64_t> full_at_bytes_;  // what was on disk when it was full
  bool was_full_ = false;                 // since stuck tables were last looked at
};

}  // namespace zerrow::resource
