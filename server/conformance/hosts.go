package conformance

import (
	"google.golang.org/grpc/codes"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// checkHosts sends requests to each host of a provider with several hosts.
func checkHosts(c *checker) {
	if !c.offers.GetSupportsClustering() {
		return
	}
	resp, err := call(c, c.target.Client.ListHosts, &providerv1.ListHostsRequest{})
	if err != nil || len(resp.GetHosts()) == 0 {
		c.Fatalf("ListHosts: %v, %v; want a host", resp, err)
	}
	for _, host := range resp.GetHosts() {
		got, err := call(c, c.target.Client.GetHostInfo, &providerv1.GetHostInfoRequest{HostId: host.GetId()})
		if err != nil || got.GetId() != host.GetId() || host.GetId() == "" {
			c.Errorf("GetHostInfo %q: %v, %v", host.GetId(), got, err)
		}
	}
	_, err = call(c, c.target.Client.GetHostInfo, &providerv1.GetHostInfoRequest{HostId: noSuchVMs[0]})
	c.refused("GetHostInfo of a host that does not exist", err, codes.NotFound)
}
