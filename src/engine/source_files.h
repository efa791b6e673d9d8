// Which bytes the paths of a source lead to now, and whether that can be told again later.
//
// Functions; any thread. They wait for the file system.
#pragma once

#include <arrow/result.h>

#include <vector>

#include "decache/cache.h"
#include "engine/description.h"

namespace zerrow::engine {

struct IdentifiedFile {
  decache::FileIdentity identity;
  nlohmann::json partition;  // SourceFile's
  /// Another content will have another identity: the file is on a local file system whose times
  /// tell, and was last changed long enough ago for another change to get another time.
  bool lasting = false;
};

/// In the order of `files`. IOError that names the file.
arrow::Result<std::vector<IdentifiedFile>> Identify(const std::vector<SourceFile>& files);

}  // namespace zerrow::engine
