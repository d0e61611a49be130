#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/broker/edge/edge_harness.h"

namespace millrace::broker::edge {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kHealthMethod[] = "/grpc.health.v1.Health/Check";
constexpr char kReflectionMethod[] = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
// HealthCheckResponse { ServingStatus status = 1; }
constexpr char kIsServing[] = "\x08\x01";
constexpr char kIsNotServing[] = "\x08\x02";
// HTTP/2's preface and an empty SETTINGS frame.
const std::string kPreface("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const std::string kSettings("\0\0\0\x04\0\0\0\0\0", 9);

// HealthCheckRequest { string service = 1; }
std::string HealthRequest(const std::string& service) {
  if (service.empty()) return "";
  return "\x0a" + std::string(1, static_cast<char>(service.size())) + service;
}

class TcpClient {
 public:
  explicit TcpClient(const Endpoint& endpoint) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(endpoint.port);
    inet_pton(AF_INET, endpoint.host.c_str(), &address.sin_addr);
    sockaddr plain;
    std::memcpy(&plain, &address, sizeof(plain));
    CHECK_EQ(connect(fd_, &plain, sizeof(address)), 0);
  }
  ~TcpClient() { close(fd_); }
  void Send(const std::string& bytes) { (void)send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL); }
  // Whether the server closes the connection in time.
  bool WaitForClose() {
    char buffer[4096];
    pollfd poll_fd{.fd = fd_, .events = POLLIN, .revents = 0};
    while (poll(&poll_fd, 1, 20'000) > 0) {
      if (recv(fd_, buffer, sizeof(buffer), 0) <= 0) return true;
    }
    return false;
  }
  // What the server's first frame says, by identifier. Pre: it has been sent what makes it speak.
  std::map<uint16_t, uint32_t> ReadSettings() {
    const std::string header = ReadExactly(9);
    const size_t size = static_cast<uint8_t>(header[1]) << 8 | static_cast<uint8_t>(header[2]);
    CHECK_EQ(header[3], 4) << "the first frame is SETTINGS";
    const std::string body = ReadExactly(size);
    std::map<uint16_t, uint32_t> settings;
    for (size_t at = 0; at < size; at += 6) {
      uint16_t identifier;
      uint32_t value;
      std::memcpy(&identifier, &body[at], sizeof(identifier));
      std::memcpy(&value, &body[at + 2], sizeof(value));
      settings[ntohs(identifier)] = ntohl(value);
    }
    return settings;
  }

 private:
  std::string ReadExactly(size_t size) {
    std::string bytes(size, '\0');
    CHECK_EQ(recv(fd_, bytes.data(), size, MSG_WAITALL), static_cast<ssize_t>(size));
    return bytes;
  }

  int fd_;
};

class ServerTest : public ::testing::Test {
 protected:
  void Start() {
    harness_.registry().AddCall(kUnaryMethod,
                                [](std::shared_ptr<Call> call) { call->Reply(call->request()); });
    probe_ = AddProbe(harness_, kStreamMethod, true);
    harness_.Start();
  }
  bool Serves() { return harness_.CallUnary(kUnaryMethod, "ping").body == "ping"; }
  // Once the connections that left are noticed.
  bool ServesSoon() {
    const auto deadline = std::chrono::steady_clock::now() + kTestTimeMax;
    while (std::chrono::steady_clock::now() < deadline) {
      if (Serves()) return true;
    }
    return false;
  }
  Result<Endpoint> StartAnother(const Endpoint& listen) {
    Result<Endpoint> bound = Endpoint();
    LoopThread shard("other");
    shard.RunAndWait([&] {
      RealClock clock;
      ServiceRegistry registry;
      ClientMemory memory(uint64_t{16} << 20);
      GrpcEdge edge({.listen = listen}, shard.executor(), clock,
                    {.registry = registry, .memory = memory});
      bound = edge.Start();
    });
    return bound;
  }

  EdgeHarness harness_;
  std::shared_ptr<Probe> probe_;
};

TEST_F(ServerTest, APortInUse_IsRefused_NamingTheAddress) {
  Start();
  const Result<Endpoint> second = StartAnother(harness_.endpoint());
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), Code::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()),
              AllOf(HasSubstr(harness_.endpoint().ToString()), HasSubstr("already in use")));
  EXPECT_TRUE(Serves());
}

TEST_F(ServerTest, AnAddressOfAnotherMachine_IsRefused_NamingIt) {
  Start();
  const Result<Endpoint> other = StartAnother({.host = "192.0.2.1", .port = 7440});
  ASSERT_FALSE(other.ok());
  EXPECT_THAT(std::string(other.status().message()), HasSubstr("192.0.2.1:7440"));
}

TEST_F(ServerTest, OneConnectionTooMany_IsClosedAtOnce_AndOthersAreServed) {
  harness_.options().connections_max = 3;
  Start();
  const auto channel = harness_.Connect();
  ClientStream stream(channel, kStreamMethod);
  ASSERT_TRUE(stream.Write("mine"));
  ASSERT_EQ(stream.Read(), "mine");
  {
    const TcpClient second(harness_.endpoint());
    const TcpClient third(harness_.endpoint());
    TcpClient fourth(harness_.endpoint());
    EXPECT_TRUE(fourth.WaitForClose());
    ASSERT_TRUE(stream.Write("still served"));
    EXPECT_EQ(stream.Read(), "still served");
  }
  // Those that left make room.
  EXPECT_TRUE(ServesSoon());
}

TEST_F(ServerTest, ConnectionsThatLeft_AreNotCounted) {
  harness_.options().connections_max = 2;
  Start();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(ServesSoon()) << i;
}

TEST_F(ServerTest, AStoppedPort_IsFreeAtOnce) {
  Start();
  const Endpoint endpoint = harness_.endpoint();
  ASSERT_TRUE(Serves());
  harness_.Stop();
  EXPECT_TRUE(StartAnother(endpoint).ok());
}

TEST_F(ServerTest, Health_FollowsSetServing_ForTheServerAndEachService) {
  Start();
  const std::vector<std::string> services{"",
                                          "millrace.v1.MetadataService",
                                          "millrace.v1.ProducerService",
                                          "millrace.v1.ConsumerService",
                                          "millrace.v1.AdminService",
                                          "millrace.v1.GroupService",
                                          "millrace.v1.TransactionService"};
  for (const auto& service : services) {
    EXPECT_EQ(harness_.CallUnary(kHealthMethod, HealthRequest(service)).body, kIsNotServing);
  }
  harness_.OnShard([&] { harness_.edge().SetServing(true); });
  for (const auto& service : services) {
    EXPECT_EQ(harness_.CallUnary(kHealthMethod, HealthRequest(service)).body, kIsServing);
  }
  EXPECT_EQ(harness_.CallUnary(kHealthMethod, HealthRequest("nobody")).status.error_code(),
            grpc::StatusCode::NOT_FOUND);
}

TEST_F(ServerTest, Settings_TellStreams_HeadersAndNoHeaderTable) {
  Start();
  TcpClient client(harness_.endpoint());
  client.Send(kPreface + kSettings);
  const std::map<uint16_t, uint32_t> told = client.ReadSettings();
  EXPECT_EQ(told.at(1), 0u) << "SETTINGS_HEADER_TABLE_SIZE";
  EXPECT_EQ(told.at(3), 1'000u) << "SETTINGS_MAX_CONCURRENT_STREAMS";
  EXPECT_EQ(told.at(6), 8u << 10) << "SETTINGS_MAX_HEADER_LIST_SIZE";
}

class ServerReflectionTest : public ServerTest {
 protected:
  // The answer to one request; nothing if the stream ends instead.
  std::optional<std::string> Ask(const std::string& service, const std::string& request) {
    const std::string method = "/" + service + "/ServerReflectionInfo";
    ClientStream stream(harness_.Connect(), method.c_str());
    stream.Write(request);
    std::optional<std::string> answer = stream.Read();
    stream.HalfClose();
    ended_ = stream.Finish();
    return answer;
  }
  grpc::Status ended_;
};

TEST_F(ServerReflectionTest, BothVersions_ListAllThatIsServed) {
  Start();
  for (const std::string version : {"v1", "v1alpha"}) {
    const auto answer =
        Ask("grpc.reflection." + version + ".ServerReflection", std::string("\x3a\x00", 2));
    ASSERT_TRUE(answer.has_value()) << version;
    EXPECT_TRUE(ended_.ok()) << ended_.error_message();
    for (const char* service :
         {"millrace.v1.MetadataService", "millrace.v1.ProducerService",
          "millrace.v1.ConsumerService", "millrace.v1.AdminService", "millrace.v1.GroupService",
          "millrace.v1.TransactionService", "grpc.health.v1.Health",
          "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}) {
      EXPECT_THAT(*answer, HasSubstr(service));
    }
  }
}

TEST_F(ServerReflectionTest, ManyRequestsOnOneStream_AreAnsweredInOrder) {
  Start();
  ClientStream stream(harness_.Connect(), kReflectionMethod);
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(stream.Write("\x22\x11google.rpc.Status"));
    ASSERT_TRUE(stream.Write("\x22\x06nobody"));
  }
  stream.HalfClose();
  for (int i = 0; i < 200; ++i) {
    EXPECT_THAT(stream.Read().value_or(""), HasSubstr("google/rpc/status.proto"));
    EXPECT_THAT(stream.Read().value_or(""), HasSubstr("nobody is not known here"));
  }
  EXPECT_EQ(stream.Read(), std::nullopt);
  EXPECT_TRUE(stream.Finish().ok());
}

TEST_F(ServerReflectionTest, ItsStreams_AreCounted) {
  harness_.options().streams_max = 5;
  Start();
  const auto channel = harness_.Connect();
  std::vector<std::unique_ptr<ClientStream>> streams;
  for (int i = 0; i < 5; ++i) {
    streams.push_back(std::make_unique<ClientStream>(channel, kReflectionMethod));
    ASSERT_TRUE(streams.back()->Write(std::string("\x3a\x00", 2)));
    ASSERT_TRUE(streams.back()->Read().has_value());
  }
  EXPECT_EQ(Ask("grpc.reflection.v1.ServerReflection", std::string("\x3a\x00", 2)), std::nullopt);
  EXPECT_EQ(ended_.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(ServerReflectionTest, SwitchedOff_ItIsNotThere) {
  harness_.options().has_reflection = false;
  Start();
  EXPECT_EQ(Ask("grpc.reflection.v1.ServerReflection", std::string("\x3a\x00", 2)), std::nullopt);
  EXPECT_EQ(ended_.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_TRUE(Serves());
}

TEST_F(ServerTest, Garbage_ClosesItsConnection_AndNoOther) {
  Start();
  const std::vector<std::string> kGarbage{
      "GET / HTTP/1.1\r\n\r\n", std::string(100'000, '\xff'), kPreface + std::string(1000, '\xff'),
      kPreface + kSettings + std::string("\xff\xff\xff\x00\xff\x7f\xff\xff\xff", 9)};
  for (const std::string& garbage : kGarbage) {
    TcpClient client(harness_.endpoint());
    client.Send(garbage);
    EXPECT_TRUE(client.WaitForClose()) << garbage.substr(0, 40);
    EXPECT_TRUE(Serves());
  }
}

TEST_F(ServerTest, AClientThatStallsBeforeTheHandshakeEnds_IsClosed) {
  harness_.options().handshake_time_max = std::chrono::milliseconds(300);
  Start();
  TcpClient silent(harness_.endpoint());
  TcpClient half_preface(harness_.endpoint());
  half_preface.Send(kPreface.substr(0, 10));
  EXPECT_TRUE(silent.WaitForClose());
  EXPECT_TRUE(half_preface.WaitForClose());
  EXPECT_TRUE(Serves());
}

TEST_F(ServerTest, AClientThatStallsInAFrame_IsClosedByTheKeepalive_WhileOthersAreServed) {
  harness_.options().keepalive_interval = std::chrono::milliseconds(1000);
  harness_.options().keepalive_answer_max = std::chrono::milliseconds(500);
  Start();
  TcpClient stalled(harness_.endpoint());
  stalled.Send(kPreface + kSettings + std::string("\x00\x10\x00\x00\x00\x00\x00\x00\x01half", 13));
  EXPECT_TRUE(Serves());
  EXPECT_TRUE(stalled.WaitForClose());
  EXPECT_TRUE(Serves());
}

TEST_F(ServerTest, AConnectionThatBreaks_ClosesItsStreams) {
  Start();
  {
    auto channel = harness_.Connect();
    ClientStream stream(channel, kStreamMethod);
    ASSERT_TRUE(stream.Write("hello"));
    ASSERT_EQ(stream.Read(), "hello");
    stream.Cancel();
  }
  ASSERT_TRUE(harness_.WaitUntil([&] { return probe_->closed_count == 1; }));
  EXPECT_TRUE(harness_.WaitUntilIdle());
}

TEST_F(ServerTest, Stop_EndsStreamsWithUnavailable_AndClosesTheirHandlers) {
  Start();
  auto channel = harness_.Connect();
  ClientStream stream(channel, kStreamMethod);
  ASSERT_TRUE(stream.Write("hello"));
  ASSERT_EQ(stream.Read(), "hello");
  harness_.Stop();
  EXPECT_EQ(probe_->closed_count, 1);
  EXPECT_EQ(stream.Read(), std::nullopt);
  const grpc::Status status = stream.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "the broker is stopping");
}

TEST_F(ServerTest, Stop_DoesNotWaitForAClientThatNeverReads) {
  Start();
  auto channel = harness_.Connect();
  ClientStream stream(channel, kStreamMethod);
  ASSERT_TRUE(stream.Write("hello"));
  ASSERT_TRUE(harness_.WaitUntil([&] { return probe_->messages.size() == 1; }));
  harness_.OnShard([&] {
    for (int i = 0; i < 64; ++i) probe_->stream->Write({Bytes::Own(std::string(1 << 20, 'x'))});
  });
  const auto begin = std::chrono::steady_clock::now();
  harness_.Stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  EXPECT_EQ(probe_->closed_count, 1);
}

TEST_F(ServerTest, Stop_UnderLoad_LeavesNothingBehind) {
  for (int round = 0; round < 5; ++round) {
    EdgeHarness harness;
    AddProbe(harness, kStreamMethod, true);
    harness.Start();
    std::vector<std::thread> clients;
    std::atomic<int> echoed = 0;
    for (int i = 0; i < 8; ++i) {
      clients.emplace_back([&] {
        ClientStream stream(harness.Connect(), kStreamMethod);
        while (stream.Write(std::string(10'000, 'x')) && stream.Read().has_value()) ++echoed;
        stream.Finish();
      });
    }
    EXPECT_TRUE(harness.WaitUntil([&] { return echoed > 100 * round; }));
    harness.Stop();
    for (std::thread& client : clients) client.join();
  }
}

}  // namespace
}  // namespace millrace::broker::edge
