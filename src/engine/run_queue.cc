#include "engine/run_queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace zerrow::engine {

namespace {

constexpr size_t kFullBytes = 4 << 20;
constexpr size_t kRoomBytes = kFullBytes / 2;
constexpr size_t kItemBytes = 256;  // of what isn't the text of a line

size_t BytesOf(const RunEvent& event) {
  const auto* line = std::get_if<OutputLine>(&event);
  return kItemBytes + (line != nullptr ? line->line.size() : 0);
}

}  // namespace

class RunQueue::QueueSink final : public RunSink {
 public:
  explicit QueueSink(std::shared_ptr<RunQueue> queue) : queue_(std::move(queue)) {}
  // So that nobody waits for an engine that is gone.
  ~QueueSink() override {
    if (!done_) Done(arrow::Status::IOError("the engine came to an end before the run did"));
  }

  bool Offer(RunEvent event) override {
    const size_t bytes = BytesOf(event);
    return queue_->Put(std::move(event), bytes);
  }
  void Done(arrow::Result<RunResult> result) override {
    done_ = true;
    queue_->Put(std::move(result), kItemBytes);
  }

 private:
  const std::shared_ptr<RunQueue> queue_;
  bool done_ = false;
};

arrow::Result<std::shared_ptr<RunQueue>> RunQueue::Make() {
  base::UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event.valid()) return base::ErrnoStatus(errno, "eventfd");
  return std::shared_ptr<RunQueue>(new RunQueue(std::move(event)));
}

std::unique_ptr<RunSink> RunQueue::Sink(std::shared_ptr<RunQueue> queue) {
  return std::make_unique<QueueSink>(std::move(queue));
}

void RunQueue::OnRoom(std::function<void()> resume) {
  const std::lock_guard lock(mutex_);
  resume_ = std::move(resume);
}

bool RunQueue::Put(Item item, size_t bytes) {
  const std::lock_guard lock(mutex_);
  items_.emplace_back(std::move(item), bytes);
  bytes_ += bytes;
  if (bytes_ >= kFullBytes) full_ = true;
  const uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(event_.get(), &one, sizeof(one));
  filled_.notify_one();
  return !full_;
}

std::optional<RunQueue::Item> RunQueue::Take(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  if (!filled_.wait_for(lock, patience, [this] { return !items_.empty(); })) return std::nullopt;
  auto [item, bytes] = std::move(items_.front());
  items_.pop_front();
  bytes_ -= bytes;
  if (items_.empty()) {
    uint64_t count = 0;
    [[maybe_unused]] const auto got = ::read(event_.get(), &count, sizeof(count));
  }
  if (full_ && bytes_ <= kRoomBytes) {
    full_ = false;
    const auto resume = resume_;
    lock.unlock();
    if (resume) resume();
  }
  return std::move(item);
}

}  // namespace zerrow::engine
