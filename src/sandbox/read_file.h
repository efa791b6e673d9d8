// Files of /proc and of cgroups. Any thread.
#pragma once

#include <arrow/result.h>

#include <string>

namespace zerrow::sandbox {

/// All of it. IOError; CapacityError beyond 1 MiB, which none of these has.
arrow::Result<std::string> ReadFile(const std::string& path);

}  // namespace zerrow::sandbox
