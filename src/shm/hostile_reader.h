// For tests: a reader that tries every known way to write to the segment that it was given.
//
// Runs in a process of its own that holds nothing but the segment's descriptor, as a worker does;
// as root of a user namespace (how workers run where it is permitted) or with the rights of the
// caller. Nothing is left behind.
#pragma once

#include <arrow/result.h>

#include <cstdint>
#include <string>

namespace zerrow::shm {

enum class Confinement { kNone, kUserNamespace };

/// The names of the attacks that the kernel let through, or empty. The segment's first byte isn't
/// 'H', and its last page is a hole. IOError: the process couldn't be set up.
arrow::Result<std::string> AttackSegment(int fd, int64_t size_bytes, Confinement confinement);

}  // namespace zerrow::shm
