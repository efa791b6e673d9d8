// What a chunk costs in each phase of its life, over each source, as CPU time per GiB:
// granted, touched by the worker, trimmed and frozen at its end, and freed or recycled.
#include <benchmark/benchmark.h>
#include <sys/mman.h>

#include <ctime>
#include <string>

#include "shm/shared_memory.h"
#include "shm/test_worker.h"

namespace zerrow::shm {
namespace {

using Source = SharedMemoryOptions::Source;
constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kChunkBytes = 64 * kMiB;
constexpr int kChunks = 8;
constexpr double kGiBs = static_cast<double>(kChunks * kChunkBytes) / (1 << 30);

double CpuSeconds(clockid_t clock) {
  timespec now;
  ::clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

std::unique_ptr<SharedMemory> MakeMemory(benchmark::State& state) {
  SharedMemoryOptions options;
  options.source = state.range(0) == 0 ? Source::kTmpfs : Source::kMemfd;
  options.pool.limit_bytes = int64_t{4} << 30;
  options.pool.idle = std::chrono::hours(1);
  auto memory = SharedMemory::Make(options);
  if (memory.ok()) {
    state.SetLabel(std::string((*memory)->pool().source().name()));
    return std::move(*memory);
  }
  state.SkipWithError(memory.status().message().c_str());
  return nullptr;
}

// A worker that wrote to each page of its chunks and is gone. The references are to `kept` of
// each 1 MiB.
std::vector<Reference> RunWorker(SharedMemory& memory, int64_t kept, double* touch_cpu_s) {
  TestWorker worker(memory.broker().AddWorker(1).ValueOrDie());
  std::vector<Reference> references;
  for (int i = 0; i < kChunks; ++i) {
    TestWorker::Area* area = worker.Grant(kChunkBytes);
    if (area == nullptr) return {};
    const double start_s = CpuSeconds(CLOCK_THREAD_CPUTIME_ID);
    ::madvise(area->data(), kChunkBytes, MADV_HUGEPAGE);
    for (int64_t at = 0; at < kChunkBytes; at += 4096) area->data()[at] = 1;
    *touch_cpu_s += CpuSeconds(CLOCK_THREAD_CPUTIME_ID) - start_s;
    for (int64_t at = 0; kept > 0 && at < kChunkBytes; at += kMiB) {
      if (!references.empty() && kept == kMiB && at > 0) {
        references.back().length += kMiB;
      } else {
        references.push_back({area->id, at, kept});
      }
    }
  }
  return references;
}

void Grant(benchmark::State& state) {
  const auto memory = MakeMemory(state);
  if (memory == nullptr) return;
  TestWorker worker(memory->broker().AddWorker(1).ValueOrDie());
  for (auto _ : state) {
    TestWorker::Area* area = worker.Grant(kChunkBytes);
    if (area == nullptr) return state.SkipWithError("refused");
    worker.Release(area->id);
  }
}

void TouchFresh(benchmark::State& state) {
  for (auto _ : state) {
    const auto memory = MakeMemory(state);
    if (memory == nullptr) return;
    double cpu_s = 0;
    RunWorker(*memory, 0, &cpu_s);
    state.SetIterationTime(cpu_s / kGiBs);
    memory->broker().TakeWorker(1);
  }
}

// range(1): KiB kept of each MiB by the output that the chunks held before.
void TouchRecycled(benchmark::State& state) {
  const auto memory = MakeMemory(state);
  if (memory == nullptr) return;
  for (auto _ : state) {
    double cpu_s = 0;
    for (int i = 0; i < 2; ++i) {
      cpu_s = 0;
      const auto references = RunWorker(*memory, state.range(1) << 10, &cpu_s);
      if (!memory->Publish(memory->broker().TakeWorker(1), references).ok()) return;
      memory->reaper().Flush();
    }
    state.SetIterationTime(cpu_s / kGiBs);
  }
}

// range(1): KiB kept of each MiB. The time is the trim's; the rest is in counters.
void Publish(benchmark::State& state) {
  const auto memory = MakeMemory(state);
  if (memory == nullptr) return;
  double freeze_cpu_s = 0;
  double free_cpu_s = 0;
  for (auto _ : state) {
    double touch_cpu_s = 0;
    const auto references = RunWorker(*memory, state.range(1) << 10, &touch_cpu_s);
    auto out = memory->Publish(memory->broker().TakeWorker(1), references);
    if (!out.ok()) return state.SkipWithError(out.status().message().c_str());
    state.SetIterationTime(out->trim_cpu_s / kGiBs);
    freeze_cpu_s += out->freeze_cpu_s;
    const double start_s = CpuSeconds(CLOCK_PROCESS_CPUTIME_ID);
    out->segments.clear();
    memory->reaper().Flush();
    memory->pool().Shrink(int64_t{1} << 40);
    memory->reaper().Flush();
    free_cpu_s += CpuSeconds(CLOCK_PROCESS_CPUTIME_ID) - start_s;
  }
  const double gibs = kGiBs * static_cast<double>(state.iterations());
  state.counters["freeze_ms_per_GiB"] = 1e3 * freeze_cpu_s / gibs;
  state.counters["free_ms_per_GiB"] = 1e3 * free_cpu_s / gibs;
}

// The end of the last lease, when the chunk goes back to the pool.
void Recycle(benchmark::State& state) {
  const auto memory = MakeMemory(state);
  if (memory == nullptr) return;
  if (!memory->pool().source().recycles_published()) return state.SkipWithError("never recycled");
  for (auto _ : state) {
    double touch_cpu_s = 0;
    const auto references = RunWorker(*memory, kMiB, &touch_cpu_s);
    auto out = memory->Publish(memory->broker().TakeWorker(1), references).ValueOrDie();
    const double start_s = CpuSeconds(CLOCK_PROCESS_CPUTIME_ID);
    out.segments.clear();
    memory->reaper().Flush();
    state.SetIterationTime((CpuSeconds(CLOCK_PROCESS_CPUTIME_ID) - start_s) / kGiBs);
  }
}

BENCHMARK(Grant)->Arg(0)->Arg(1)->Unit(benchmark::kMicrosecond);
BENCHMARK(TouchFresh)
    ->Arg(0)
    ->Arg(1)
    ->UseManualTime()
    ->Iterations(3)
    ->Unit(benchmark::kMillisecond);
BENCHMARK(TouchRecycled)
    ->ArgsProduct({{0, 1}, {0, 1024, 1000, 512}})
    ->UseManualTime()
    ->Iterations(3)
    ->Unit(benchmark::kMillisecond);
BENCHMARK(Publish)
    ->ArgsProduct({{0, 1}, {1024, 1000, 512, 64}})
    ->UseManualTime()
    ->Iterations(3)
    ->Unit(benchmark::kMillisecond);
BENCHMARK(Recycle)->Arg(0)->Arg(1)->UseManualTime()->Iterations(3)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace zerrow::shm

BENCHMARK_MAIN();
