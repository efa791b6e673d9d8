#include "shm/kernelzero.h"

#include <fcntl.h>
#include <kernelzero.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

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

// Of a call that has failed. What moved before shows its contents still, as the file is behind it.
std::string HowFar(const kz_move& move) {
  std::string text = "moving memory into a file";
  if (move.done == 0 && move.partial_bytes == 0) return text;
  return text + ", after " + std::to_string(move.done) + " of " + std::to_string(move.nr_ranges) +
         " ranges and " + std::to_string(move.partial_bytes) + " bytes of the next";
}

// Shows the whole pages of what a call has emptied again, at the same addresses.
Status ShowAgain(const kz_move& move, std::span<const kz_range> ranges) {
  const size_t shown = move.done + (move.partial_bytes > 0 ? 1 : 0);
  for (size_t i = 0; i < shown; ++i) {
    const uintptr_t begin = ranges[i].addr;
    const uintptr_t end = begin + (i < move.done ? ranges[i].length : move.partial_bytes);
    const WholePages whole(begin, end);
    if (whole.begin >= whole.end) continue;
    void* const at = reinterpret_cast<void*>(whole.begin);
    const auto offset = static_cast<off_t>(ranges[i].offset + (whole.begin - begin));
    if (::mmap(at, whole.end - whole.begin, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
               move.fd, offset) != at) {
      return Status::OutOfMemory("mapping what has moved again: ",
                                 base::ErrnoStatus(errno, "mmap").message());
    }
  }
  return Status::OK();
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
  kz_move move = {};
  move.size = sizeof(move);
  move.flags = KZ_MOVE_EDGES | (leaves == Leaves::kZeros ? KZ_MOVE_DISCARD : 0);
  move.fd = file.fd.get();
  move.nr_ranges = static_cast<uint32_t>(moves.size());
  move.ranges = reinterpret_cast<uintptr_t>(moves.data());
  if (!moves.empty() && ::ioctl(device_.get(), KZ_MOVE, &move) != 0) {
    const Status stopped = base::ErrnoStatus(errno, HowFar(move));
    if (leaves == Leaves::kZeros) ARROW_RETURN_NOT_OK(ShowAgain(move, moves));
    return stopped;
  }
  file.size_bytes = static_cast<int64_t>(move.file_size);
  for (const kz_range& moved : moves) file.offsets.push_back(static_cast<int64_t>(moved.offset));
  // Beyond the edges: pages that somebody else holds too.
  const auto whole_pages = static_cast<int64_t>(move.copied_pages) - edges.pages;
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
