#include "shm/kernelzero.h"

#include <fcntl.h>
#include <kernelzero.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace zerrow::shm {

namespace {

using arrow::Status;

constexpr uintptr_t kPageBytes = 4096;

// The whole pages of [begin, end): none if they end where they begin, or before.
struct WholePages {
  WholePages(uintptr_t first, uintptr_t last)
      : begin((first + kPageBytes - 1) / kPageBytes * kPageBytes),
        end(last / kPageBytes * kPageBytes) {}

  uintptr_t begin;
  uintptr_t end;
};

// Ranges that the module copies a page for because they cover but a part of it.
struct Edges {
  int64_t pages = 0;
  int64_t bytes = 0;
};

Edges EdgesOf(const MemoryRange& range) {
  const uintptr_t begin = range.address;
  const uintptr_t end = begin + static_cast<uintptr_t>(range.length);
  const WholePages whole(begin, end);
  if (whole.begin > whole.end) return {1, range.length};  // within one page
  Edges edges;
  edges.pages = (whole.begin > begin ? 1 : 0) + (end > whole.end ? 1 : 0);
  edges.bytes = static_cast<int64_t>((whole.begin - begin) + (end - whole.end));
  return edges;
}

arrow::Result<kz_version> AskVersion(int device) {
  kz_version version = {};
  version.size = sizeof(version);
  if (::ioctl(device, KZ_VERSION, &version) != 0) {
    return base::ErrnoStatus(errno, "asking " KZ_DEVICE " for its version");
  }
  if (version.abi != KZ_ABI_VERSION) {
    return Status::IOError("the kernel module kernelzero has interface ", version.abi,
                           ", this program needs ", KZ_ABI_VERSION);
  }
  return version;
}

// How far ranges have moved, and the errno that stopped it, or 0.
struct Progress {
  size_t done = 0;             // ranges
  uint64_t partial_bytes = 0;  // of the next one
  uint64_t file_size = 0;      // bytes
  uint64_t copied_pages = 0;
  int error = 0;
};

// Moves ranges in calls of at most `most`; `call` says how and where to.
Progress MoveInCalls(int device, kz_move call, std::span<kz_range> ranges, size_t most) {
  Progress progress;
  while (progress.error == 0 && progress.done < ranges.size()) {
    const auto next = ranges.subspan(progress.done, std::min(most, ranges.size() - progress.done));
    call.nr_ranges = static_cast<uint32_t>(next.size());
    call.ranges = reinterpret_cast<uintptr_t>(next.data());
    call.done = call.partial_bytes = call.copied_pages = 0;
    if (::ioctl(device, KZ_MOVE, &call) != 0) progress.error = errno;
    progress.done += progress.error == 0 ? next.size() : call.done;
    progress.partial_bytes = call.partial_bytes;
    progress.file_size = call.file_size;
    progress.copied_pages += call.copied_pages;
  }
  return progress;
}

// The whole pages of what has moved, and where they are in the file.
struct MovedPages {
  WholePages pages;
  off_t offset;
};

std::vector<MovedPages> MovedSoFar(const Progress& progress, std::span<const kz_range> ranges) {
  std::vector<MovedPages> moved;
  const size_t begun = progress.done + (progress.partial_bytes > 0 ? 1 : 0);
  for (size_t i = 0; i < begun; ++i) {
    const uintptr_t begin = ranges[i].addr;
    const WholePages pages(begin,
                           begin + (i < progress.done ? ranges[i].length : progress.partial_bytes));
    if (pages.begin >= pages.end) continue;
    moved.push_back({pages, static_cast<off_t>(ranges[i].offset + (pages.begin - begin))});
  }
  return moved;
}

// Shows what was emptied again, at the same addresses.
Status ShowAgain(const std::vector<MovedPages>& moved, int file) {
  for (const auto& [pages, offset] : moved) {
    void* const at = reinterpret_cast<void*>(pages.begin);
    if (::mmap(at, pages.end - pages.begin, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, file,
               offset) != at) {
      return Status::OutOfMemory("mapping what has moved again: ",
                                 base::ErrnoStatus(errno, "mmap").message());
    }
  }
  return Status::OK();
}

// The kernel may take memory away and then find none for the view in its place.
bool AreMapped(const std::vector<MovedPages>& moved) {
  std::vector<unsigned char> resident;
  for (const auto& [pages, offset] : moved) {
    const uintptr_t length = pages.end - pages.begin;
    resident.resize(length / kPageBytes);
    if (::mincore(reinterpret_cast<void*>(pages.begin), length, resident.data()) != 0) return false;
  }
  return true;
}

// After a call has failed: the contents are there once more, if they can be, and why it failed.
Status Recover(const Progress& progress, std::span<const kz_range> ranges, int file,
               KernelZero::Leaves leaves) {
  if (progress.error == EIO) {
    return Status::UnknownError("memory was lost as it moved into a file: the kernel's log tells");
  }
  const auto moved = MovedSoFar(progress, ranges);
  if (leaves == KernelZero::Leaves::kZeros) {
    ARROW_RETURN_NOT_OK(ShowAgain(moved, file));
  } else if (!AreMapped(moved)) {
    return Status::OutOfMemory("mapping what has moved");
  }
  std::string what = "moving memory into a file";
  if (progress.done > 0 || progress.partial_bytes > 0) {
    what += ", after " + std::to_string(progress.done) + " of " + std::to_string(ranges.size()) +
            " ranges and " + std::to_string(progress.partial_bytes) + " bytes of the next";
  }
  return base::ErrnoStatus(progress.error, what);
}

// Why there is no device, and what would help.
std::string ExplainMissing() {
  utsname kernel = {};
  ::uname(&kernel);
  const std::string release = kernel.release;
  std::error_code error;
  if (!std::filesystem::exists("/proc/modules", error)) {
    return "this kernel (" + release + ") doesn't load modules";
  }
  const std::filesystem::path modules = "/lib/modules/" + release;
  for (const char* place : {"updates/dkms", "extra", "updates", "kernel/extra"}) {
    if (std::filesystem::exists(modules / place / "kernelzero.ko", error)) {
      return "the module is installed but not loaded: modprobe kernelzero";
    }
  }
  return "the module isn't installed for this kernel (" + release + "): see kernel/README.md";
}

}  // namespace

arrow::Result<KernelZero> KernelZero::Open() {
  base::UniqueFd device(::open(KZ_DEVICE, O_RDWR | O_CLOEXEC));
  if (!device.valid()) return base::ErrnoStatus(errno, "opening " KZ_DEVICE);
  ARROW_RETURN_NOT_OK(AskVersion(device.get()));
  return KernelZero(std::move(device));
}

arrow::Result<MovedFile> KernelZero::Move(std::span<const MemoryRange> ranges,
                                          Leaves leaves) const {
  ARROW_ASSIGN_OR_RAISE(const kz_version version, AskVersion(device_.get()));
  kz_create create = {};
  create.size = sizeof(create);
  if (::ioctl(device_.get(), KZ_CREATE, &create) != 0) {
    return base::ErrnoStatus(errno, "making a file of " KZ_DEVICE);
  }
  MovedFile file;
  file.fd = base::UniqueFd(create.fd);
  std::vector<kz_range> moves;
  Edges edges;
  for (const MemoryRange& range : ranges) {
    moves.push_back({range.address, static_cast<uint64_t>(range.length), 0, 0});
    const Edges more = EdgesOf(range);
    edges.pages += more.pages;
    edges.bytes += more.bytes;
  }
  kz_move call = {};
  call.size = sizeof(call);
  call.flags = KZ_MOVE_EDGES | (leaves == Leaves::kZeros ? KZ_MOVE_DISCARD : 0);
  call.fd = file.fd.get();
  // A module that is set to take none refuses one.
  const size_t most = std::max<size_t>(version.max_ranges, 1);
  const Progress progress = MoveInCalls(device_.get(), call, moves, most);
  if (progress.error != 0) return Recover(progress, moves, file.fd.get(), leaves);
  file.size_bytes = static_cast<int64_t>(progress.file_size);
  for (const kz_range& moved : moves) file.offsets.push_back(static_cast<int64_t>(moved.offset));
  // Beyond the edges: pages that somebody else holds too.
  const auto whole_pages = static_cast<int64_t>(progress.copied_pages) - edges.pages;
  file.copied_bytes = edges.bytes + whole_pages * static_cast<int64_t>(kPageBytes);
  return file;
}

Capability ProbeKernelZero() {
  const base::UniqueFd device(::open(KZ_DEVICE, O_RDWR | O_CLOEXEC));
  if (!device.valid()) {
    if (errno == EACCES || errno == EPERM) {
      return {false, "no permission for " KZ_DEVICE ": its group may use it"};
    }
    return {false, ExplainMissing()};
  }
  const auto version = AskVersion(device.get());
  if (!version.ok()) return {false, version.status().message()};
  return {true, "private memory moved into files by the kernel module"};
}

std::map<std::string, int64_t> KernelZeroCounters(const std::string& path) {
  std::ifstream file(path);
  std::map<std::string, int64_t> counters;
  std::string name;
  int64_t count = 0;
  while (file >> name >> count) counters[name] = count;
  return counters;
}

arrow::Result<std::vector<MemoryRange>> MovableMemory(int64_t min_bytes) {
  std::ifstream maps("/proc/self/maps");
  if (!maps) return Status::IOError("/proc/self/maps can't be read");
  std::vector<MemoryRange> found;
  for (std::string line; std::getline(maps, line);) {
    uintptr_t begin = 0, end = 0;
    uint64_t inode = 0;
    char dash = 0;
    std::string rights, offset, device, name;
    std::istringstream fields(line);
    fields >> std::hex >> begin >> dash >> end >> rights >> offset >> device >> std::dec >> inode;
    if (!fields) {
      return Status::IOError("/proc/self/maps has a line that isn't understood: ", line);
    }
    fields >> name;
    // Growing stacks and the kernel's own pages have names in brackets.
    const bool plain = name.empty() || name == "[heap]" || name.starts_with("[anon:");
    if (inode != 0 || rights != "rw-p" || !plain) continue;
    if (!found.empty() &&
        found.back().address + static_cast<uintptr_t>(found.back().length) == begin) {
      found.back().length += static_cast<int64_t>(end - begin);
    } else {
      found.push_back({begin, static_cast<int64_t>(end - begin)});
    }
  }
  std::erase_if(found, [&](const MemoryRange& range) { return range.length < min_bytes; });
  return found;
}

}  // namespace zerrow::shm
