#include "shm/test_worker.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <thread>
#include <utility>

#include "base/fd_passing.h"

namespace zerrow::shm {

namespace {
constexpr int kPatienceMs = 20'000;

bool WaitReadable(int fd) {
  pollfd poller{fd, POLLIN, 0};
  int ready = 0;
  do {
    ready = ::poll(&poller, 1, kPatienceMs);
  } while (ready < 0 && errno == EINTR);
  return ready > 0;
}
}  // namespace

bool TestWorker::Send(const void* bytes, size_t length) {
  return ::send(socket_.get(), bytes, length, MSG_NOSIGNAL) == static_cast<ssize_t>(length);
}

std::optional<zerrow_broker_reply> TestWorker::Receive(base::UniqueFd* fd) {
  if (!WaitReadable(socket_.get())) return std::nullopt;
  zerrow_broker_reply reply{};
  auto packet = base::ReceivePacket(socket_.get(), {&reply, sizeof(reply)});
  if (packet.bytes != sizeof(reply)) return std::nullopt;
  if (!packet.fds.empty()) *fd = std::move(packet.fds[0]);
  return reply;
}

TestWorker::Area* TestWorker::Grant(uint64_t size_bytes) {
  error_ = 0;
  if (!Send({ZERROW_BROKER_GRANT, 0, size_bytes, 0})) return nullptr;
  base::UniqueFd fd;
  const auto reply = Receive(&fd);
  if (!reply) return nullptr;
  error_ = reply->error;
  if (error_ != 0 || !fd.valid()) return nullptr;
  auto mapping = base::Mapping::Map(fd.get(), static_cast<int64_t>(reply->size_bytes),
                                    base::Mapping::Access::kReadWrite);
  if (!mapping.ok()) return nullptr;
  Area area{reply->segment, std::move(fd), std::move(*mapping), reply->dirty != 0};
  return &areas_.insert_or_assign(area.id, std::move(area)).first->second;
}

void TestWorker::Release(SegmentId id) {
  areas_.erase(id);
  Send({ZERROW_BROKER_RELEASE, 0, 0, id});
}

TestProcess::TestProcess(const std::function<int()>& body) : pid_(::fork()) {
  if (pid_ == 0) ::_exit(body());
}

int TestProcess::Wait() {
  if (pid_ < 0) return -1;
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void TestProcess::Kill() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  Wait();
}

TestSignal::TestSignal() {
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) == 0) {
    read_ = base::UniqueFd(ends[0]);
    write_ = base::UniqueFd(ends[1]);
  }
}

void TestSignal::Signal() {
  const char byte = 1;
  while (::write(write_.get(), &byte, 1) < 0 && errno == EINTR) {
  }
}

bool TestSignal::Wait() {
  char byte = 0;
  return WaitReadable(read_.get()) && ::read(read_.get(), &byte, 1) == 1;
}

int CountOpenFds() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<int>(std::distance(begin(all), end(all)));
}

bool Eventually(const std::function<bool()>& done) {
  for (int i = 0; i < kPatienceMs; ++i) {
    if (done()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

}  // namespace zerrow::shm
