// How fast segments go to disk and come back, against the disk's raw sequential bandwidth: direct
// I/O of the same bytes to a file of the same size in the same folder, in turns with what is
// measured. Medians; each line says its share of the raw bandwidth of the same kind, and the CPU
// seconds per GiB. ZERROW_SPILL_FOLDER names the folder; default: where this runs.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <numeric>
#include <random>

#include "base/mapping.h"
#include "shm/shared_memory.h"
#include "shm/spill_file.h"
#include "shm/test_worker.h"

namespace zerrow::shm {
namespace {

constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kBytes = 512 * kMiB;
constexpr int64_t kOddBytes = kBytes - 4096;  // no whole number of huge pages
constexpr int kRounds = 9;
constexpr double kGiBs = static_cast<double>(kBytes) / (1 << 30);

double CpuSeconds() {
  timespec now;
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// Wall and CPU seconds of each round.
struct Times {
  std::vector<double> wall_s;
  std::vector<double> cpu_s;

  template <typename Function>
  auto Measure(Function&& function) {
    const auto start = std::chrono::steady_clock::now();
    const double start_cpu_s = CpuSeconds();
    auto result = function();
    cpu_s.push_back(CpuSeconds() - start_cpu_s);
    wall_s.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    return result;
  }
};

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::shared_ptr<SpillFolder> Folder(bool direct) {
  const char* path = std::getenv("ZERROW_SPILL_FOLDER");
  SpillOptions options;
  options.direct = direct;
  return SpillFolder::Make(path == nullptr ? "." : path, options).ValueOrDie();
}

void FillRandom(uint8_t* data, int64_t size_bytes) {
  std::mt19937_64 random(1);
  for (int64_t at = 0; at < size_bytes; at += 8) {
    const uint64_t value = random();
    std::memcpy(data + at, &value, 8);
  }
}

arrow::Status FillFile(int fd, int64_t size_bytes) {
  ARROW_ASSIGN_OR_RAISE(const auto mapping,
                        base::Mapping::Map(fd, size_bytes, base::Mapping::Access::kReadWrite));
  FillRandom(mapping.data(), size_bytes);
  return arrow::Status::OK();
}

// What the disk can do with nothing around it: the same threads and calls, from memory that is
// there, without checksums.
class RawFile {
 public:
  explicit RawFile(SpillFolder& folder) : fd_(folder.MakeFile(kBytes).ValueOrDie()) {
    for (size_t i = 0; i < kSpillThreads; ++i) {
      buffers_.push_back(MakeSpillBuffer());
      FillRandom(buffers_.back().get(), kSpillPieceBytes);
    }
  }
  arrow::Status Move(SpillDirection direction) {
    constexpr size_t kPieces = kBytes / kSpillPieceBytes;
    return ForEachPiece(kPieces, {}, [&](size_t index, size_t thread) {
      const auto at = static_cast<int64_t>(index) * kSpillPieceBytes;
      const ssize_t moved = direction == SpillDirection::kWrite
                                ? ::pwrite(fd_.get(), buffers_[thread].get(), kSpillPieceBytes, at)
                                : ::pread(fd_.get(), buffers_[thread].get(), kSpillPieceBytes, at);
      if (moved == kSpillPieceBytes) return arrow::Status::OK();
      return base::ErrnoStatus(errno, "raw I/O");
    });
  }

 private:
  base::UniqueFd fd_;
  std::vector<SpillBuffer> buffers_;
};

// As a worker would have made it: of a chunk, or, where there is no pool of them, in a file of its
// own.
arrow::Result<std::shared_ptr<const Segment>> MakeSegment(SharedMemory& memory, bool chunk) {
  const SegmentId id = memory.ids().Next();
  if (!chunk) {
    ARROW_ASSIGN_OR_RAISE(auto fd, base::MakeMemfd("bench", kOddBytes));
    ARROW_RETURN_NOT_OK(FillFile(fd.get(), kOddBytes));
    return memory.PublishMemfd(id, std::move(fd), kOddBytes);
  }
  Reference reference;
  {
    TestWorker worker(memory.broker().AddWorker(1).ValueOrDie());
    TestWorker::Area* area = worker.Grant(kBytes);
    if (area == nullptr) return arrow::Status::OutOfMemory("a chunk was refused");
    ::madvise(area->data(), kBytes, MADV_HUGEPAGE);
    FillRandom(area->data(), kBytes);
    reference = {area->id, 0, kBytes};
  }
  ARROW_ASSIGN_OR_RAISE(auto out, memory.Publish(memory.broker().TakeWorker(1), {&reference, 1}));
  return out.segments.at(0);
}

void Report(benchmark::State& state, const std::string& name, const Times& ours, const Times& raw) {
  std::vector<double> shares;
  for (size_t i = 0; i < ours.wall_s.size(); ++i) shares.push_back(raw.wall_s[i] / ours.wall_s[i]);
  state.counters[name + "_MBps"] = static_cast<double>(kBytes) / 1e6 / Median(ours.wall_s);
  state.counters[name + "_raw_MBps"] = static_cast<double>(kBytes) / 1e6 / Median(raw.wall_s);
  state.counters[name + "_of_raw"] = Median(shares);
  state.counters[name + "_cpu_s_per_GiB"] = Median(ours.cpu_s) / kGiBs;
  state.counters[name + "_raw_cpu_s_per_GiB"] = Median(raw.cpu_s) / kGiBs;
}

enum class Memory { kPooled, kFresh, kFile, kMemfd };
constexpr const char* kMemoryNames[] = {
    "chunk, read into one of the pool", "chunk, read into fresh memory",
    "memfd, read into a chunk of the pool", "memfd, read into a memfd"};

// A segment is written, its memory goes, and it is read back.
void Spill(benchmark::State& state) {
  const auto kind = static_cast<Memory>(state.range(0));
  const bool direct = state.range(1) == 0;
  SharedMemoryOptions options;
  options.source = kind == Memory::kMemfd ? SharedMemoryOptions::Source::kMemfd
                                          : SharedMemoryOptions::Source::kTmpfs;
  options.pool.limit_bytes = kind != Memory::kFresh ? 4 * kBytes : 0;
  options.pool.idle = std::chrono::hours(1);
  auto memory = SharedMemory::Make(options);
  if (!memory.ok()) return state.SkipWithError(memory.status().message().c_str());
  const auto folder = Folder(direct);
  const auto raw_folder = Folder(true);
  Times write, read, raw_write, raw_read;
  while (state.KeepRunning()) {
    RawFile raw(*raw_folder);
    auto segment = MakeSegment(**memory, kind <= Memory::kFresh).ValueOrDie();
    const auto check = [](const arrow::Status& status) {
      if (!status.ok()) status.Abort();
    };
    check(raw_write.Measure([&] { return raw.Move(SpillDirection::kWrite); }));
    const auto file =
        write.Measure([&] { return SpillFile::Write(folder, *segment); }).ValueOrDie();
    segment.reset();
    (*memory)->reaper().Flush();
    check(raw_read.Measure([&] { return raw.Move(SpillDirection::kRead); }));
    segment = read.Measure([&] { return (*memory)->Load(file); }).ValueOrDie();
  }
  state.SetLabel(std::string(kMemoryNames[state.range(0)]) + (direct ? "" : ", page cache"));
  Report(state, "write", write, raw_write);
  Report(state, "read", read, raw_read);
}

BENCHMARK(Spill)
    ->ArgsProduct({{0, 1, 2, 3}, {0, 1}})
    ->Iterations(kRounds)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace zerrow::shm

BENCHMARK_MAIN();
