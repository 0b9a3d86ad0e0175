package conformance

import (
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// breakerCodes are the codes that open the manager's circuit breaker after ten in a row, over all VMs of a provider. While it is
// open the manager forgets every VM that is being deleted, and the VM stays forever.
var breakerCodes = []codes.Code{codes.Unavailable, codes.DeadlineExceeded, codes.Internal, codes.Unknown}

const (
	opensBreaker = 10
	managersVMs  = 12 // two more than the manager's concurrent requests
)

// checkAway makes the provider's backend unreachable. The provider must stay valid, because the manager forgets VMs that are
// being deleted while it is not; it must report no VM as absent; and its errors must not open the manager's circuit breaker,
// for any number of concurrent calls.
func checkAway(c *checker) {
	if c.target.Away == nil {
		return
	}
	ids := make([]string, managersVMs)
	for i := range ids {
		ids[i] = c.create(c.plain(c.name(fmt.Sprintf("away-%d", i))))
	}
	back := c.target.Away()
	defer back() // back may be called twice
	if resp, err := call(c, c.target.Client.Validate, &providerv1.ValidateRequest{}); err != nil || !resp.GetOk() {
		c.Errorf("Validate: %v %v; want ok", resp, err)
	}
	c.atOnce("Delete", ids, func(id string) error {
		_, err := call(c, c.target.Client.Delete, &providerv1.DeleteRequest{Id: id})
		return err
	})
	c.atOnce("Describe", ids, func(id string) error {
		resp, err := call(c, c.target.Client.Describe, &providerv1.DescribeRequest{Id: id})
		if err == nil && !resp.GetExists() {
			c.Error("Describe reports the VM as absent")
		}
		return err
	})
	back()
	c.until("the VM reappears", func() bool {
		resp, err := call(c, c.target.Client.Describe, &providerv1.DescribeRequest{Id: ids[0]})
		return err == nil && resp.GetExists()
	})
}

// atOnce makes as many concurrent calls as the manager, and counts the responses that would open its circuit breaker. A call may
// succeed when the provider does not need its backend.
func (c *checker) atOnce(what string, ids []string, do func(id string) error) {
	c.Helper()
	answers := make([]error, len(ids))
	var group errgroup.Group
	for i, id := range ids {
		group.Go(func() error {
			answers[i] = do(id)
			return nil
		})
	}
	_ = group.Wait() // the loop below reads the errors
	counted := 0
	for _, err := range answers {
		switch code := status.Code(err); {
		case code == codes.NotFound:
			c.Errorf("%s: %v: the provider cannot know that while its backend is unreachable", what, err)
		case slices.Contains(breakerCodes, code):
			counted++
		}
	}
	if counted >= opensBreaker {
		c.Errorf("%s: %d of %d replies count as faults for the circuit breaker, which opens at %d", what, counted, len(ids), opensBreaker)
	}
}
