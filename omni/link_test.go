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

// link is the connection to a provider, which can be down, and can lose one reply or refuse one call.
type link struct {
	away atomic.Bool

	mu    sync.Mutex
	calls []string
	lose  int        // the reply of this call is lost; from 1, 0 is none
	code  codes.Code // unless it is OK, that call is refused with it instead
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

// count counts the calls that a request causes, and not those of the health check.
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

// refuse has a call refused, and not done.
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

// TestEachReplyIsLostOnce loses the reply of the first call, of the second, and so on until there are no more calls: the
// machine is made once and complete, and nothing is left when it is gone.
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
				w.goesAway(nas, id)
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
