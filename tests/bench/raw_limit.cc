// What this machine can do at most for replicated, durable appends: a client sends messages to a
// leader, which passes them to two followers; each of the three writes them with O_DIRECT and
// fdatasync, and the client is told how many a majority holds. Four processes on loopback TCP, no
// protocol, no checksums, no lookups. Prints one line of JSON with the fields of `millrace bench -o
// json`, and the CPU of the three brokers.
//
//   raw_limit FOLDER MESSAGE_BYTES MESSAGES [MESSAGES_PER_SECOND]
#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

using Clock = std::chrono::steady_clock;
constexpr size_t kAlignment = 4096;
constexpr size_t kWindowBytes = size_t{8} << 20;  // unanswered, and the buffer of each broker
constexpr size_t kFileBytes = size_t{128} << 20;  // written before, then over and over
constexpr size_t kReplicas = 3;

void Require(bool is_good, const char* what) {
  if (is_good) return;
  std::fprintf(stderr, "error: %s: %s\n", what, std::strerror(errno));
  std::_Exit(1);
}

void SendAll(int fd, const void* data, size_t size) {
  for (const char* at = static_cast<const char*>(data); size > 0;) {
    const ssize_t sent = send(fd, at, size, MSG_NOSIGNAL);
    Require(sent > 0, "send");
    at += sent;
    size -= static_cast<size_t>(sent);
  }
}

void ReceiveAll(int fd, void* data, size_t size) {
  for (char* at = static_cast<char*>(data); size > 0;) {
    const ssize_t got = recv(fd, at, size, 0);
    Require(got > 0, "recv");
    at += got;
    size -= static_cast<size_t>(got);
  }
}

// Both ends of a TCP connection on loopback.
struct Wire {
  int near = -1;
  int far = -1;
};

Wire MakeWire() {
  sockaddr_in address{.sin_family = AF_INET,
                      .sin_port = 0,
                      .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)},
                      .sin_zero = {}};
  socklen_t size = sizeof address;
  auto* raw = reinterpret_cast<sockaddr*>(&address);
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  Require(bind(listener, raw, size) == 0 && listen(listener, 1) == 0, "listen");
  Require(getsockname(listener, raw, &size) == 0, "getsockname");
  Wire wire{.near = socket(AF_INET, SOCK_STREAM, 0)};
  Require(connect(wire.near, raw, size) == 0, "connect");
  wire.far = accept(listener, nullptr, nullptr);
  Require(wire.far >= 0, "accept");
  close(listener);
  const int on = 1;
  for (const int fd : {wire.near, wire.far})
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return wire;
}

struct Load {
  size_t message_bytes = 0;
  uint64_t messages = 0;
  double rate = 0;

  size_t slot_bytes() const { return (message_bytes + kAlignment - 1) / kAlignment * kAlignment; }
  uint64_t window() const { return kWindowBytes / slot_bytes(); }
};

// Tells the client how many messages two of three hold. Any thread of the leader.
class Majority {
 public:
  explicit Majority(int client) : client_(client) {}
  void Hold(size_t replica, uint64_t count) {
    const std::lock_guard lock(mu_);
    held_[replica] = count;
    std::array<uint64_t, kReplicas> sorted = held_;
    std::sort(sorted.begin(), sorted.end());
    if (sorted[1] <= told_) return;
    told_ = sorted[1];
    SendAll(client_, &told_, sizeof told_);
  }

 private:
  const int client_;
  std::mutex mu_;
  std::array<uint64_t, kReplicas> held_{};
  uint64_t told_ = 0;
};

// Receives on one thread into a ring, and writes what is there to the file on another.
class Broker {
 public:
  Broker(const Load& load, const std::string& path) : load_(load) {
    file_ = open(path.c_str(), O_RDWR | O_DIRECT);
    Require(file_ >= 0, path.c_str());
    ring_ = static_cast<char*>(std::aligned_alloc(kAlignment, load.window() * load.slot_bytes()));
    std::memset(ring_, 0, load.window() * load.slot_bytes());
  }

  // Until all messages are there and on disk. `held` is told how many are, whenever that changes.
  template <typename Held>
  void Run(int from, std::span<const int> followers, Held held) {
    std::thread disk([&] { WriteAll(held); });
    for (uint64_t i = 0; i < load_.messages; ++i) {
      {
        std::unique_lock lock(mu_);
        changed_.wait(lock, [&] { return i - written_ < load_.window(); });
      }
      char* slot = ring_ + (i % load_.window()) * load_.slot_bytes();
      ReceiveAll(from, slot, load_.message_bytes);
      for (const int follower : followers) SendAll(follower, slot, load_.message_bytes);
      const std::lock_guard lock(mu_);
      received_ = i + 1;
      changed_.notify_all();
    }
    disk.join();
  }

 private:
  template <typename Held>
  void WriteAll(Held held) {
    const size_t slot_bytes = load_.slot_bytes();
    size_t at = 0;
    for (uint64_t done = 0; done < load_.messages;) {
      uint64_t count = 0;
      {
        std::unique_lock lock(mu_);
        changed_.wait(lock, [&] { return received_ > done; });
        count = std::min(received_ - done, load_.window() - done % load_.window());
      }
      if (at + count * slot_bytes > kFileBytes) at = 0;
      const char* from = ring_ + (done % load_.window()) * slot_bytes;
      const size_t size = count * slot_bytes;
      Require(pwrite(file_, from, size, static_cast<off_t>(at)) == static_cast<ssize_t>(size),
              "pwrite");
      Require(fdatasync(file_) == 0, "fdatasync");
      at += size;
      done += count;
      held(done);
      const std::lock_guard lock(mu_);
      written_ = done;
      changed_.notify_all();
    }
  }

  const Load load_;
  int file_ = -1;
  char* ring_ = nullptr;
  std::mutex mu_;
  std::condition_variable changed_;
  uint64_t received_ = 0;
  uint64_t written_ = 0;
};

void Follow(const Load& load, const std::string& path, int leader) {
  Broker(load, path).Run(leader, {}, [&](uint64_t count) {
    SendAll(leader, &count, sizeof count);
  });
}

void Lead(const Load& load, const std::string& path, int client, std::array<int, 2> followers) {
  Majority majority(client);
  std::vector<std::thread> listeners;
  for (size_t i = 0; i < followers.size(); ++i) {
    listeners.emplace_back([&, i] {
      for (uint64_t count = 0; count < load.messages;) {
        ReceiveAll(followers[i], &count, sizeof count);
        majority.Hold(i + 1, count);
      }
    });
  }
  Broker(load, path).Run(client, followers, [&](uint64_t count) { majority.Hold(0, count); });
  for (std::thread& listener : listeners) listener.join();
}

struct Measured {
  double seconds = 0;
  std::vector<double> latencies_ms;  // sorted
};

Measured RunClient(const Load& load, int leader) {
  std::vector<Clock::time_point> since(load.messages);
  std::mutex mu;
  std::condition_variable changed;
  uint64_t acknowledged = 0;
  const Clock::time_point began = Clock::now();
  std::thread sender([&] {
    const std::string message(load.message_bytes, 'x');
    for (uint64_t i = 0; i < load.messages; ++i) {
      const auto due =
          std::chrono::duration<double>(load.rate > 0 ? static_cast<double>(i) / load.rate : 0);
      const auto due_at = began + std::chrono::duration_cast<Clock::duration>(due);
      if (load.rate > 0) std::this_thread::sleep_until(due_at);
      std::unique_lock lock(mu);
      changed.wait(lock, [&] { return i - acknowledged < load.window(); });
      since[i] = load.rate > 0 ? due_at : Clock::now();
      lock.unlock();
      SendAll(leader, message.data(), message.size());
    }
  });
  Measured measured;
  for (uint64_t done = 0; done < load.messages;) {
    uint64_t count = 0;
    ReceiveAll(leader, &count, sizeof count);
    const Clock::time_point now = Clock::now();
    const std::lock_guard lock(mu);
    for (; done < count; ++done) {
      measured.latencies_ms.push_back(
          std::chrono::duration<double, std::milli>(now - since[done]).count());
    }
    acknowledged = done;
    changed.notify_all();
  }
  measured.seconds = std::chrono::duration<double>(Clock::now() - began).count();
  sender.join();
  std::sort(measured.latencies_ms.begin(), measured.latencies_ms.end());
  return measured;
}

double CpuSeconds(int who) {
  rusage usage = {};
  getrusage(who, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

void Print(const Load& load, const Measured& measured, double cpu, double broker_cpu) {
  const auto at = [&](double fraction) {
    const auto index = static_cast<size_t>(fraction * static_cast<double>(load.messages));
    return measured.latencies_ms[std::min<size_t>(index, load.messages - 1)];
  };
  const double rate = static_cast<double>(load.messages) / measured.seconds;
  std::printf(
      "{\"records\":%llu,\"seconds\":%f,\"records_per_second\":%f,\"megabytes_per_second\":%f,"
      "\"latency_ms\":{\"p50\":%f,\"p99\":%f,\"p999\":%f,\"max\":%f},\"cpu_seconds\":%f,\"broker_"
      "cpu_seconds\":%f}\n",
      static_cast<unsigned long long>(load.messages), measured.seconds, rate,
      rate * static_cast<double>(load.message_bytes) / 1e6, at(0.5), at(0.99), at(0.999), at(1),
      cpu, broker_cpu);
}

// The file, all of it written, so that later writes change no metadata.
void Prepare(const std::string& path) {
  const int file = open(path.c_str(), O_CREAT | O_RDWR | O_TRUNC, 0644);
  Require(file >= 0, path.c_str());
  const std::string block(size_t{1} << 20, 'o');
  for (size_t done = 0; done < kFileBytes; done += block.size()) {
    Require(write(file, block.data(), block.size()) == static_cast<ssize_t>(block.size()), "write");
  }
  Require(fsync(file) == 0, "fsync");
  close(file);
}

template <typename Role>
void Fork(Role role) {
  const pid_t child = fork();
  Require(child >= 0, "fork");
  if (child > 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  role();
  std::_Exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: raw_limit FOLDER MESSAGE_BYTES MESSAGES [MESSAGES_PER_SECOND]\n");
    return 2;
  }
  const Load load{.message_bytes = std::stoul(argv[2]),
                  .messages = std::stoull(argv[3]),
                  .rate = argc > 4 ? std::stod(argv[4]) : 0};
  if (load.message_bytes == 0 || load.messages == 0 || load.window() == 0) return 2;
  std::vector<std::string> paths;
  for (size_t i = 0; i < kReplicas; ++i) {
    paths.push_back(std::string(argv[1]) + "/replica-" + std::to_string(i + 1));
    Prepare(paths.back());
  }
  const Wire client = MakeWire();
  const std::array<Wire, 2> chain{MakeWire(), MakeWire()};
  Fork([&] { Lead(load, paths[0], client.far, {chain[0].near, chain[1].near}); });
  Fork([&] { Follow(load, paths[1], chain[0].far); });
  Fork([&] { Follow(load, paths[2], chain[1].far); });
  const double cpu_before = CpuSeconds(RUSAGE_SELF);
  const Measured measured = RunClient(load, client.near);
  const double cpu = CpuSeconds(RUSAGE_SELF) - cpu_before;
  for (size_t i = 0; i < kReplicas; ++i) {
    int status = 0;
    Require(wait(&status) > 0 && status == 0, "a broker's end");
  }
  Print(load, measured, cpu, CpuSeconds(RUSAGE_CHILDREN));
  for (const std::string& path : paths) unlink(path.c_str());
  return 0;
}
