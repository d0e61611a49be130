// Calls of services for which the Client has no methods: a single one, and all pages of a list.
//
// On the client's executor. Each calls `done` within `timeout`; the client outlives the call, or
// `done` is not called.
//
//   InvokePages<v1::ListGroupsResponse>(client, "/millrace.v1.GroupService/ListGroups", request,
//                                       timeout, std::move(done));
#pragma once

#include <memory>
#include <utility>

#include "client/core/client.h"
#include "proto/base/bytes.h"
#include "proto/base/status.h"
#include "raft/runtime/clock.h"

namespace millrace::client {

template <typename Response, typename Request>
void Invoke(Client& client, const Client::Method& method, const Request& request, Duration timeout,
            ResponseDone<Response> done) {
  client.Call(method, Bytes::Own(request.SerializeAsString()), timeout,
              [done = std::move(done)](const Result<Bytes>& answer) mutable {
                done(ParseAnswer<Response>(answer));
              });
}

template <typename Response>
void MergePage(const Response& page, Response* all) {
  all->MergeFrom(page);
}

// All pages of an answer, one after the other.
template <typename Request, typename Response>
class Pages : public std::enable_shared_from_this<Pages<Request, Response>> {
 public:
  using Add = void (*)(const Response& page, Response* all);

  Pages(Client& client, const char* method, Request request, Duration timeout, Add add,
        ResponseDone<Response> done)
      : client_(client),
        method_(method),
        request_(std::move(request)),
        deadline_(client.clock().Now() + timeout),
        add_(add),
        done_(std::move(done)) {}

  void AskNext() {
    Invoke<Response>(
        client_, {method_}, request_, TimeLeft(client_.clock(), deadline_),
        [self = this->shared_from_this()](const Result<Response>& page) { self->Take(page); });
  }

 private:
  void Take(const Result<Response>& page) {
    if (!page.ok()) return done_(page.status());
    add_(*page, &all_);
    all_.clear_next_page_token();
    if (page->next_page_token().empty()) return done_(std::move(all_));
    request_.set_page_token(page->next_page_token());
    AskNext();
  }

  Client& client_;
  const char* const method_;
  Request request_;
  const MonotonicTime deadline_;
  const Add add_;
  ResponseDone<Response> done_;
  Response all_;
};

// Asks for page after page, which `add` puts together: one answer, without a token.
template <typename Response, typename Request>
void InvokePages(Client& client, const char* method, const Request& request, Duration timeout,
                 ResponseDone<Response> done,
                 void (*add)(const Response& page, Response* all) = &MergePage<Response>) {
  std::make_shared<Pages<Request, Response>>(client, method, request, timeout, add, std::move(done))
      ->AskNext();
}

}  // namespace millrace::client
