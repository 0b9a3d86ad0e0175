package omni

import (
	"context"
	"fmt"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// link is a connection to a provider that can be down, lose one reply, or refuse one call.
type link struct {
	away atomic.Bool

	mu    sync.Mutex
	calls []string
	lose  int        // number of the call whose reply is lost, from 1; 0: none
	code  codes.Code // unless OK, refuses that call instead
	about func(method string) bool
}

func (l *link) option() grpc.DialOption { return grpc.WithUnaryInterceptor(l.call) }

func (l *link) call(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if l.away.Load() {
		return status.Error(codes.Unavailable, "the link is down")
	}
	lost, code := l.count(path.Base(method))
	if lost && code != codes.OK {
		return status.Error(code, "refused by the test")
	}
	if err := invoke(ctx, method, req, reply, conn, opts...); err != nil {
		return err
	}
	if lost {
		return status.Error(codes.Unavailable, "the reply was lost")
	}
	return nil
}

// count counts the calls that a request causes, without those of the health check.
func (l *link) count(method string) (lost bool, code codes.Code) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if method == "Validate" || l.about != nil && !l.about(method) {
		return false, codes.OK
	}
	l.calls = append(l.calls, method)
	return len(l.calls) == l.lose, l.code
}

func (l *link) begin(lose int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls, l.lose, l.code = nil, lose, codes.OK
}

// refuse makes a call fail before it has an effect.
func (l *link) refuse(call int, code codes.Code) {
	l.begin(call)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.code = code
}

func (l *link) made() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.calls)
}

// TestEachReplyIsLostOnce loses the reply of the first call, then of the second, and so on to the last call. The machine is
// created once and complete, and its removal leaves nothing behind.
func TestEachReplyIsLostOnce(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			link := &link{about: func(method string) bool { return method != "ListVMs" }}
			client, nas := onNAS(t, release, nil, link.option())
			w := newWorld(t, Backend{Name: "nas", Client: client})
			_, stop := w.start()
			for n := 1; ; n++ {
				id := fmt.Sprintf("lost-%d", n)
				link.begin(n)
				w.request(id, class)
				w.complete(nas, id)
				w.checkRelease(nas, id)
				if calls := link.made(); len(calls) < n {
					t.Logf("%d calls: %v", len(calls), calls)
					break
				}
				if n > 100 {
					t.Fatal("the calls never end")
				}
			}
			stop()
		})
	}
}
