// Who decodes what now, so that a column is decoded once however many ask at the same moment.
//
// A scan claims all columns that it must decode, or none: it holds nothing while it waits, so that
// no two scans can wait for each other. Those that wait have no order among them: a scan that
// overtakes decodes what the waiting one then finds in the cache. Pure; one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "decache/identity.h"

namespace zerrow::decache {

/// One reading of a source; numbers are its owner's, never used again.
using ScanId = uint64_t;

/// Columns of files.
using Columns = std::map<FileIdentity, std::set<std::string>>;

class Claims {
 public:
  /// True: `scan` has claimed `columns`, of which nobody else had any. False: it waits, until
  /// Release says that it can look again; then it asks the cache and claims what is still missing.
  /// A scan holds one claim at a time: it must have released an earlier one.
  bool Claim(ScanId scan, Columns columns);

  /// `scan` has ended, in whatever way, or no longer wants what it waited for. The scans that can
  /// look again, longest waiting first: nobody holds what they wait for. They wait on until they
  /// claim or are released themselves. Nothing happens if it neither holds nor waits.
  std::vector<ScanId> Release(ScanId scan);

  size_t num_holding() const { return held_.size(); }
  size_t num_waiting() const { return waiting_.size(); }

 private:
  bool IsFree(const Columns& columns) const;

  std::map<ScanId, Columns> held_;
  Columns taken_;  // all that is held
  struct Waiting {
    ScanId scan;
    Columns columns;
  };
  std::vector<Waiting> waiting_;  // longest waiting first
};

}  // namespace zerrow::decache
