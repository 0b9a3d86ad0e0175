package server_test

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// badCall is an RPC other than Create that has to be refused.
type badCall struct {
	name string
	call func(context.Context, providerv1.ProviderClient) error
	code codes.Code
	says []string
}

// TestBadCalls makes each of these calls on every release. Each is refused and changes nothing on the NAS.
func TestBadCalls(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			client, nas := busyNAS(t, release)
			ids := idsByName(t, client)
			for _, tt := range append(badPowers(ids), append(badDeletes(ids), badPrepares()...)...) {
				t.Run(tt.name, func(t *testing.T) {
					untouched(t, nas, func() error { return tt.call(t.Context(), client) }, tt.code, tt.says...)
				})
			}
		})
	}
}

func idsByName(t *testing.T, client providerv1.ProviderClient) map[string]string {
	t.Helper()
	resp, err := client.ListVMs(t.Context(), &providerv1.ListVMsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]string{}
	for _, vm := range resp.GetVms() {
		ids[vm.GetName()] = vm.GetId()
	}
	return ids
}

const absentID = "00000000-0000-4000-8000-000000000000"

func badPowers(ids map[string]string) []badCall {
	power := func(id string, op providerv1.PowerOp, seconds int32) func(context.Context, providerv1.ProviderClient) error {
		return func(ctx context.Context, c providerv1.ProviderClient) error {
			_, err := c.Power(ctx, &providerv1.PowerRequest{Id: id, Op: op, GracefulTimeoutSeconds: seconds})
			return err
		}
	}
	calls := []badCall{
		{"an operation of no kind", power(ids["owned"], providerv1.PowerOp_POWER_OP_UNSPECIFIED, 0), codes.InvalidArgument, []string{"op: ", "SHUTDOWN_GRACEFUL"}},
		{"an operation of an unknown kind", power(ids["owned"], 99, 0), codes.InvalidArgument, []string{"op: ", "99"}},
		{"a negative patience", power(ids["owned"], providerv1.PowerOp_POWER_OP_SHUTDOWN_GRACEFUL, -1), codes.InvalidArgument, []string{"graceful_timeout_seconds: ", "-1"}},
		{"a reboot of a VM that is off", power(ids["owned"], providerv1.PowerOp_POWER_OP_REBOOT, 0), codes.FailedPrecondition, []string{"owned", "off"}},
	}
	for _, op := range []providerv1.PowerOp{
		providerv1.PowerOp_POWER_OP_ON, providerv1.PowerOp_POWER_OP_OFF, providerv1.PowerOp_POWER_OP_REBOOT, providerv1.PowerOp_POWER_OP_SHUTDOWN_GRACEFUL,
	} {
		calls = append(calls,
			badCall{op.String() + " of a VM that is not there", power(absentID, op, 0), codes.NotFound, []string{absentID}},
			badCall{op.String() + " of a malformed id", power("vm-1795262071-4323", op, 0), codes.NotFound, []string{"vm-1795262071-4323"}},
			badCall{op.String() + " of no id", power("", op, 0), codes.NotFound, nil},
		)
	}
	return calls
}

func badDeletes(ids map[string]string) []badCall {
	return []badCall{{"a VM that was made by hand", func(ctx context.Context, c providerv1.ProviderClient) error {
		_, err := c.Delete(ctx, &providerv1.DeleteRequest{Id: ids["by_hand"]})
		return err
	}, codes.FailedPrecondition, []string{"by_hand", "adopted_vms"}}}
}

func badPrepares() []badCall {
	prepare := func(text, name, hint string) func(context.Context, providerv1.ProviderClient) error {
		return func(ctx context.Context, c providerv1.ProviderClient) error {
			_, err := c.ImagePrepare(ctx, &providerv1.ImagePrepareRequest{ImageJson: text, TargetName: name, StorageHint: hint})
			return err
		}
	}
	libvirt := func(text string) string { return `{"source":{"libvirt":{` + text + `}}}` }
	policy := func(text string) string {
		return `{"source":{"libvirt":{"url":"https://example.com/x.raw"}},"prepare":{` + text + `}}`
	}
	const bad, not = codes.InvalidArgument, codes.FailedPrecondition
	good := libvirt(`"url":"https://example.com/x.raw"`)
	return []badCall{
		{"an image that is not JSON", prepare("{", "img", ""), bad, []string{"image_json: "}},
		{"an image without a source", prepare("{}", "img", ""), bad, []string{"image_json"}},
		{"a source that is none", prepare(`{"source":{}}`, "img", ""), bad, []string{"image_json.source: "}},
		{"a source of another provider", prepare(`{"source":{"vsphere":{"templateName":"x"}}}`, "img", ""), bad, []string{"image_json.source: "}},
		{"a source of nothing", prepare(libvirt(""), "img", ""), bad, []string{"image_json.source.libvirt"}},
		{"a source with url and path", prepare(libvirt(`"url":"https://example.com/x.raw","path":"tank/templates/gold@v1"`), "img", ""), bad, []string{"image_json.source.libvirt", "url and path"}},
		{"a path that is not there", prepare(libvirt(`"path":"tank/templates/gold@v9"`), "img", ""), not, []string{"image_json.source.libvirt.path: ", "gold@v9"}},
		{"a path above the pool", prepare(libvirt(`"path":"tank/../x"`), "img", ""), bad, []string{"tank/../x"}},
		{"headers", prepare(`{"source":{"http":{"url":"https://example.com/x.raw","headers":{"A":"b"}}}}`, "img", ""), bad, []string{"image_json.source.http.headers: "}},
		{"authentication", prepare(`{"source":{"http":{"url":"https://example.com/x.raw","authentication":{"basicAuth":{"a":"b"}}}}}`, "img", ""), bad, []string{"image_json.source.http.authentication: "}},
		{"a URL of an unknown kind", prepare(libvirt(`"url":"gopher://example.com/x"`), "img", ""), bad, []string{"image_json", "gopher"}},
		{"a checksum of six digits", prepare(libvirt(`"url":"https://example.com/x.raw","checksum":"abcdef","checksumType":"sha256"`), "img", ""), bad, []string{"image_json", "hecksum"}},
		{"patience in words", prepare(policy(`"timeout":"long"`), "img", ""), bad, []string{"image_json.prepare.timeout: ", "long"}},
		{"negative patience", prepare(policy(`"timeout":"-5m"`), "img", ""), bad, []string{"image_json.prepare.timeout: "}},
		{"negative retries", prepare(policy(`"retries":-1`), "img", ""), bad, []string{"image_json.prepare.retries: "}},
		{"a thousand retries", prepare(policy(`"retries":1000`), "img", ""), bad, []string{"image_json.prepare.retries: "}},
		{"an unknown policy", prepare(policy(`"onMissing":"Pray"`), "img", ""), bad, []string{"image_json.prepare.onMissing: ", "Pray"}},
		{"an image that is not to be imported", prepare(policy(`"onMissing":"Fail"`), "img", ""), not, []string{"image_json.prepare.onMissing: "}},
		{"no name", prepare(good, "", ""), bad, []string{"target_name: "}},
		{"a name of 300 characters", prepare(good, strings.Repeat("x", 300), ""), bad, []string{"target_name: ", "300"}},
		{"a nested pool", prepare(good, "img", "tank/images"), bad, []string{"storage_hint: ", "tank/images"}},
	}
}

// TestNotEnoughMemory starts a VM with more memory than TrueNAS permits. The VM stays off, and its autostart stays unchanged.
func TestNotEnoughMemory(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			client, nas := onRelease(t, release)
			req := wanted("fat")
			req.ClassJson = `{"CPU":2,"MemoryMiB":131072,"DiskDefaults":{"SizeGiB":1}}` // The NAS has 64 GiB.
			created, err := client.Create(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			for _, before := range []string{"just made", "powered off"} {
				t.Run(before, func(t *testing.T) {
					if before == "powered off" {
						if _, err := client.Power(t.Context(), &providerv1.PowerRequest{Id: created.GetId(), Op: providerv1.PowerOp_POWER_OP_OFF}); err != nil {
							t.Fatal(err)
						}
					}
					untouched(t, nas, func() error {
						_, err := client.Power(t.Context(), &providerv1.PowerRequest{Id: created.GetId(), Op: providerv1.PowerOp_POWER_OP_ON})
						return err
					}, codes.ResourceExhausted, "memory", "fat")
				})
			}
		})
	}
}

// TestDeleteOfAFileInUse refuses to delete a dataset with a file in another VM's drive: TrueNAS would stop that VM.
func TestDeleteOfAFileInUse(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			client, nas := onRelease(t, release)
			created, err := client.Create(t.Context(), wanted("first"))
			if err != nil {
				t.Fatal(err)
			}
			if err := nas.AddVM("by_hand", 1, 512, "tank/virtrigaud/vms/first/data"); err != nil {
				t.Fatal(err)
			}
			untouched(t, nas, func() error {
				_, err := client.Delete(t.Context(), &providerv1.DeleteRequest{Id: created.GetId()})
				return err
			}, codes.FailedPrecondition, "by_hand")
		})
	}
}
