// Server and clients in one process, without any Python: what they say to each other, and threads.
#include "server/server.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <thread>
#include <vector>

#include "server/client.h"

namespace zerrow::server {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

constexpr auto kVersion = "1.2.3";
constexpr size_t kMaxClients = 50;

class ServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "zerrow-server-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    address_.emplace(Address::Make(root_ / "runtime").ValueOrDie());
    token_.emplace(engine::CancelToken::Make().ValueOrDie());
    server_ = Server::Make(*address_, kVersion, {}, kMaxClients).ValueOrDie();
    serving_ = std::thread([this] { EXPECT_TRUE(server_->Serve(*token_).ok()); });
  }
  void TearDown() override {
    token_->Cancel();
    serving_.join();
    server_.reset();
    EXPECT_TRUE(address_->Connect().status().IsKeyError());
    fs::remove_all(root_);
  }

  std::shared_ptr<Connection> Connect() const {
    return Connection::Open(*address_, kVersion).ValueOrDie();
  }

  fs::path root_;
  std::optional<Address> address_;
  std::optional<engine::CancelToken> token_;
  std::unique_ptr<Server> server_;
  std::thread serving_;
};

// An interpreter that isn't there: the run fails before any process is started.
Wanted Hopeless(const fs::path& folder) {
  Wanted wanted;
  wanted.options.project_dir = folder;
  wanted.options.jobs = 1;
  wanted.python = folder / "no-python";
  return wanted;
}

TEST_F(ServerTest, GreetsClientsOfItsVersionOnly) {
  EXPECT_EQ(Connect()->welcome().refusal, "");
  const auto other = Connection::Open(*address_, "1.2.4").ValueOrDie();
  EXPECT_NE(other->welcome().refusal.find(kVersion), std::string::npos);
}

TEST_F(ServerTest, WaitingForOneThatDoesNotAnswerEnds) {
  const auto silent = Address::Make(root_ / "silent").ValueOrDie();
  const auto listening = silent.Listen().ValueOrDie();
  const auto late = Connection::Open(silent, kVersion, Patience(milliseconds(20))).status();
  EXPECT_TRUE(late.IsIOError());
  EXPECT_NE(late.message().find("doesn't answer within 20 ms"), std::string::npos) << late;
  int asked = 0;
  const Patience cancelled(std::chrono::hours(1), [&asked] { return ++asked == 3; });
  EXPECT_TRUE(Connection::Open(silent, kVersion, cancelled).status().IsCancelled());
  std::vector<base::UniqueFd> waiting;
  while (true) {
    auto another = silent.Connect(Patience(milliseconds(0)));
    if (!another.ok()) break;
    waiting.push_back(*std::move(another));
  }
  asked = 0;
  EXPECT_TRUE(silent.Connect(cancelled).status().IsCancelled()) << "its backlog is full";
}

TEST_F(ServerTest, ThereIsOneInAFolder) {
  EXPECT_TRUE(Server::Make(*address_, kVersion, {}).status().IsAlreadyExists());
  EXPECT_EQ(Connect()->welcome().refusal, "");
}

TEST_F(ServerTest, AFailureOfTheEngineIsTheRuns) {
  const auto connection = Connect();
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(connection->Submit(Hopeless(root_)).ok());
    auto item = connection->Take(std::chrono::minutes(1));
    ASSERT_TRUE(item);
    const auto& done = std::get<engine::RunQueue::Done>(*item);
    EXPECT_TRUE(done.status().IsInvalid()) << done.status();
    EXPECT_NE(done.status().message().find("no-python"), std::string::npos);
  }
}

TEST_F(ServerTest, ClientsComeAndGoAtOnce) {
  std::vector<std::thread> clients;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([this] {
      for (int k = 0; k < 10; ++k) {
        const auto connection = Connect();
        const auto status = connection->Status();
        ASSERT_TRUE(status.ok()) << status.status();
        EXPECT_EQ(status->at("pid"), ::getpid());
        ASSERT_TRUE(connection->Submit(Hopeless(root_)).ok());
        connection->Cancel();
        EXPECT_TRUE(connection->Take(std::chrono::minutes(1)));
      }
    });
  }
  for (std::thread& client : clients) client.join();
  // Told of its end, a client may ask before the session has put its run away.
  const auto runs = [this] { return Connect()->Status().ValueOrDie().at("runs"); };
  const auto until = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (!runs().empty() && std::chrono::steady_clock::now() < until) std::this_thread::yield();
  EXPECT_EQ(runs(), nlohmann::json::array());
}

TEST_F(ServerTest, OneTooManyIsToldSo) {
  std::vector<std::shared_ptr<Connection>> clients;
  for (size_t i = 0; i < kMaxClients; ++i) clients.push_back(Connect());
  EXPECT_EQ(clients.back()->welcome().refusal, "");
  const auto another = Connect();
  EXPECT_NE(another->welcome().refusal.find("too many clients (50)"), std::string::npos);
  const auto submitted = another->Submit(Hopeless(root_));
  EXPECT_NE(submitted.message().find("too many clients (50)"), std::string::npos) << submitted;
  EXPECT_TRUE(another->Status().ok());
}

TEST_F(ServerTest, AClientThatReadsNothingDoesNotHoldUpTheEnd) {
  const auto engine = engine::Engine::Make({}).ValueOrDie();
  SessionHost host;
  host.version = kVersion;
  host.engine = engine.get();
  host.on_ended = [] {};
  int sockets[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
  const int least = 1;  // The first answers fill it.
  ASSERT_EQ(::setsockopt(sockets[0], SOL_SOCKET, SO_SNDBUF, &least, sizeof(least)), 0);
  const Session session(host, base::UniqueFd(sockets[0]), ::getpid(), "");
  base::Channel client(base::UniqueFd{sockets[1]});
  ASSERT_TRUE(client.Send(ToJson(Request(Hello{kVersion}))).ok());
  const base::UniqueFd folder(::open(root_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  ASSERT_TRUE(client.Send(ToJson(Request(Hopeless(root_))), std::vector<int>{folder.get()}).ok());
  // Accepted, or the engine that stops refuses it: its end is what doesn't fit any more.
  while (session.Describe().is_null()) std::this_thread::yield();
  host.stopping = true;
  while (!session.ended()) std::this_thread::yield();
  EXPECT_EQ(client.Receive().ValueOrDie()->body.at("op"), "welcome");
  while (const auto message = client.Receive().ValueOrDie()) {
    EXPECT_NE(message->body.at("op"), "failed") << "there was no room for it";
  }
}

TEST_F(ServerTest, AFolderThatIsAnotherOneThereIsRefused) {
  fs::create_directory(root_ / "other");
  base::Channel channel(address_->Connect().ValueOrDie());
  ASSERT_TRUE(channel.Send(ToJson(Request(Hello{kVersion}))).ok());
  const base::UniqueFd folder(::open((root_ / "other").c_str(), O_PATH | O_CLOEXEC));
  ASSERT_TRUE(channel.Send(ToJson(Request(Hopeless(root_))), std::vector<int>{folder.get()}).ok());
  ASSERT_TRUE(channel.Receive().ok());
  const auto reply = ParseReply(channel.Receive().ValueOrDie()->body).ValueOrDie();
  EXPECT_NE(std::get<Failed>(reply).status.message().find("isn't the same folder"),
            std::string::npos);
}

TEST_F(ServerTest, ItStopsWhileClientsAreThere) {
  std::vector<std::shared_ptr<Connection>> clients;
  for (int i = 0; i < 20; ++i) clients.push_back(Connect());
  token_->Cancel();
  auto item = clients.front()->Take(std::chrono::minutes(1));
  ASSERT_TRUE(item);
  EXPECT_TRUE(std::get<engine::RunQueue::Done>(*item).status().IsIOError());
}

}  // namespace
}  // namespace zerrow::server
