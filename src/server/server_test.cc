// Server and clients in one process, without any Python: what they say to each other, and threads.
#include "server/server.h"

#include <gtest/gtest.h>
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

class ServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "zerrow-server-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    address_.emplace(Address::Make(root_ / "runtime").ValueOrDie());
    token_.emplace(engine::CancelToken::Make().ValueOrDie());
    server_ = Server::Make(*address_, kVersion, {}).ValueOrDie();
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
  EXPECT_EQ(Connect()->Status().ValueOrDie().at("runs"), nlohmann::json::array());
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
