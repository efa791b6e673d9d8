#include "engine/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "base/exceptions.h"

namespace zerrow::engine {

using base::ErrnoStatus;
using base::UniqueFd;

arrow::Result<std::unique_ptr<EventLoop>> EventLoop::Make() {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.valid()) return ErrnoStatus(errno, "epoll_create1");
  UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event.valid()) return ErrnoStatus(errno, "eventfd");
  std::unique_ptr<EventLoop> loop(new EventLoop(std::move(epoll), std::move(event)));
  ARROW_RETURN_NOT_OK(loop->Watch(loop->finished_event_.get(),
                                  [raw = loop.get()] { raw->failed_ = raw->CallDone(); }));
  return loop;
}

EventLoop::EventLoop(UniqueFd epoll, UniqueFd finished_event)
    : epoll_(std::move(epoll)), finished_event_(std::move(finished_event)) {}

EventLoop::~EventLoop() { Stop(); }

void EventLoop::Stop() {
  for (auto& lane : lanes_) lane.Stop();
  std::list<Job> dropped;  // without the lock: what they hold may call us
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  finished_.swap(dropped);
}

arrow::Result<EventLoop::WatchId> EventLoop::Watch(int fd, Callback callback) {
  const WatchId id = next_id_++;
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = id;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    return ErrnoStatus(errno, "watching a descriptor");
  }
  watches_.emplace(id, Registration{fd, std::make_shared<Callback>(std::move(callback))});
  return id;
}

void EventLoop::Unwatch(WatchId id) {
  const auto watch = watches_.find(id);
  if (watch == watches_.end()) return;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, watch->second.fd, nullptr);
  watches_.erase(watch);
}

void EventLoop::SetPaused(WatchId id, bool paused) {
  const auto watch = watches_.find(id);
  if (watch == watches_.end()) return;
  epoll_event event{};
  event.events = paused ? 0U : uint32_t{EPOLLIN};
  event.data.u64 = id;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, watch->second.fd, &event);
}

void EventLoop::Call(Callback call) {
  std::list<Job> job;
  job.push_back({nullptr, std::move(call), arrow::Status::OK()});
  std::lock_guard lock(mutex_);
  if (!stopped_) Finished(job);
}

void EventLoop::Finished(std::list<Job>& job) {
  finished_.splice(finished_.end(), job);
  const uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(finished_event_.get(), &one, sizeof(one));
}

void EventLoop::Post(Lane lane, Callback work, Callback done) {
  auto job = std::make_shared<std::list<Job>>();
  job->push_back({std::move(work), std::move(done), arrow::Status::OK()});
  lanes_[static_cast<size_t>(lane)].Post([this, job] {
    Job& posted = job->front();
    posted.outcome = base::CatchExceptions([&] {
      posted.work();
      return arrow::Status::OK();
    });
    posted.work = nullptr;  // what it holds goes here, not on the loop's thread
    const std::lock_guard lock(mutex_);
    Finished(*job);
  });
}

arrow::Status EventLoop::RunOnce(std::chrono::milliseconds timeout) {
  std::array<epoll_event, 64> events;
  const int count =
      ::epoll_wait(epoll_.get(), events.data(), events.size(), static_cast<int>(timeout.count()));
  if (count < 0) return errno == EINTR ? arrow::Status::OK() : ErrnoStatus(errno, "epoll_wait");
  for (int i = 0; i < count; ++i) {
    // Looked up by id, since an earlier callback may have ended this watch.
    const auto watch = watches_.find(events[static_cast<size_t>(i)].data.u64);
    if (watch == watches_.end()) continue;
    const auto callback = watch->second.callback;
    ARROW_RETURN_NOT_OK(base::CatchExceptions([&] {
      (*callback)();
      return failed_;
    }));
  }
  return arrow::Status::OK();
}

arrow::Status EventLoop::CallDone() {
  uint64_t count = 0;
  [[maybe_unused]] const auto got = ::read(finished_event_.get(), &count, sizeof(count));
  std::list<Job> finished;
  {
    std::lock_guard lock(mutex_);
    finished.swap(finished_);
  }
  for (Job& job : finished) {
    ARROW_RETURN_NOT_OK(job.outcome);
    job.done();
  }
  return arrow::Status::OK();
}

}  // namespace zerrow::engine
