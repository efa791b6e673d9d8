// Moves memory of this process into a file by KernelZero, the kernel module (kernel/).
//
// The client of docs/formats/kernelzero_abi.md. What is moved can be read through the file from
// then on and never changed by anybody: the file is immutable for its maker too, which keeps a
// private view at the old addresses. Any thread; memory that is being moved must not be unmapped
// meanwhile. A file lives as long as its descriptors and mappings, so nothing survives a crash.
#pragma once

#include <arrow/result.h>

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/fd.h"
#include "shm/capabilities.h"

namespace zerrow::shm {

struct MemoryRange {
  uintptr_t address = 0;
  int64_t length = 0;  // bytes

  friend bool operator==(const MemoryRange&, const MemoryRange&) = default;
};

struct MovedFile {
  base::UniqueFd fd;  // read-only, sealed
  int64_t size_bytes = 0;
  std::vector<int64_t> offsets;  // of each range's first byte
  int64_t copied_bytes = 0;      // of the ranges; the others are the very pages that were there
};

class KernelZero {
 public:
  /// What memory that has moved shows to its process.
  enum class Leaves {
    kViews,  // what it showed before
    kZeros,  // nothing: several times as quick, for whoever doesn't look there any more
  };

  /// IOError: there is no such device, or no permission, or it speaks another version.
  static arrow::Result<KernelZero> Open();

  /// Moves ranges (of any alignment, not overlapping) into a new file. The bytes that share a page
  /// with others are copied; no byte outside the ranges comes into the file. IOError: memory that
  /// can't be moved; the ranges keep their contents, whatever was to be left, but what of them had
  /// moved when the call stopped can't be moved again. Anything else, and contents are lost:
  /// OutOfMemory, as they could not be shown again, or UnknownError, by the hardware.
  arrow::Result<MovedFile> Move(std::span<const MemoryRange> ranges,
                                Leaves leaves = Leaves::kViews) const;

 private:
  explicit KernelZero(base::UniqueFd device) : device_(std::move(device)) {}

  base::UniqueFd device_;
};

/// Whether the module can be used here and now; if not, what to do about it.
Capability ProbeKernelZero();

/// What the module has done since it was loaded, for all processes: its counters by name, of pages
/// of 4 KiB unless the ABI page says otherwise. Empty if it isn't loaded.
std::map<std::string, int64_t> KernelZeroCounters(
    const std::string& path = "/sys/module/kernelzero/parameters/counters");

/// This process's private memory that no file backs, by address, pieces of at least `min_bytes`:
/// what Move takes. IOError.
arrow::Result<std::vector<MemoryRange>> MovableMemory(int64_t min_bytes);

}  // namespace zerrow::shm
