package server_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas/sim"
)

// vmWithSecrets returns a Create with a secret in every field of a user.
func (w *secretsTest) vmWithSecrets(name string) *providerv1.CreateRequest {
	req := wanted(name)
	req.ImageJson = `{"Path":"tank/templates/gold@v1"}`
	req.UserData = fmt.Appendf(nil, "#cloud-config\nchpasswd:\n  users: [{name: root, password: %s}]\nwrite_files: [{content: %q}]\n",
		w.marks.Secret("password in the user data"), w.marks.Secret("join token"))
	req.MetaData = fmt.Appendf(nil, "instance-id: i-1\npublic-keys: {}\nwifi_password: %q\n", w.marks.Secret("password in the meta data"))
	req.ClassJson = strings.TrimSuffix(req.ClassJson, "}") + fmt.Sprintf(`,"ExtraConfig":{"vnc.password":%q}}`, w.marks.Secret("password in the extra config"))
	return req
}

// s3Secrets returns a migration's credentials.
func (w *secretsTest) s3Secrets() map[string]string {
	return map[string]string{
		"accessKeyID": w.marks.Secret("S3 access key"), "secretAccessKey": w.marks.Secret("S3 secret key"), "sessionToken": w.marks.Secret("S3 session token"),
		"password": w.marks.Secret("password of the staging place"), "token": w.marks.Secret("token of the staging place"), "other": w.marks.Secret("credential that is not ours"),
	}
}

// step is one call.
type step struct {
	method string
	call   func(ctx context.Context, id string) (proto.Message, error)
}

// steps calls every RPC, in an order in which each has an effect.
func (w *secretsTest) steps() []step {
	c := w.client
	power := func(op providerv1.PowerOp) step {
		return step{"Power", func(ctx context.Context, id string) (proto.Message, error) {
			return c.Power(ctx, &providerv1.PowerRequest{Id: id, Op: op, GracefulTimeoutSeconds: 5})
		}}
	}
	return append([]step{
		{"Validate", func(ctx context.Context, _ string) (proto.Message, error) {
			return c.Validate(ctx, &providerv1.ValidateRequest{})
		}},
		{"GetCapabilities", func(ctx context.Context, _ string) (proto.Message, error) {
			return c.GetCapabilities(ctx, &providerv1.GetCapabilitiesRequest{})
		}},
		{"Create", func(ctx context.Context, _ string) (proto.Message, error) {
			return c.Create(ctx, w.vmWithSecrets("web-1"))
		}},
		{"Create of another image", func(ctx context.Context, _ string) (proto.Message, error) {
			req := w.vmWithSecrets("web-3")
			req.ImageJson = fmt.Sprintf(`{"URL":%q}`, w.web.url("disk.raw"))
			return c.Create(ctx, req)
		}},
		power(providerv1.PowerOp_POWER_OP_ON),
		{"Describe", func(ctx context.Context, id string) (proto.Message, error) {
			return c.Describe(ctx, &providerv1.DescribeRequest{Id: id})
		}},
		{"ListVMs", func(ctx context.Context, _ string) (proto.Message, error) {
			return c.ListVMs(ctx, &providerv1.ListVMsRequest{})
		}},
		{"GetDiskInfo", func(ctx context.Context, id string) (proto.Message, error) {
			return c.GetDiskInfo(ctx, &providerv1.GetDiskInfoRequest{VmId: id})
		}},
		power(providerv1.PowerOp_POWER_OP_OFF),
		{"Reconfigure", func(ctx context.Context, id string) (proto.Message, error) {
			return c.Reconfigure(ctx, &providerv1.ReconfigureRequest{Id: id, DesiredJson: w.desired()})
		}},
	}, w.moreSteps()...)
}

func (w *secretsTest) moreSteps() []step {
	c := w.client
	snapshot := "vrsnap-before"
	return []step{
		{"SnapshotCreate", func(ctx context.Context, id string) (proto.Message, error) {
			resp, err := c.SnapshotCreate(ctx, &providerv1.SnapshotCreateRequest{VmId: id, NameHint: "before"})
			if err == nil {
				snapshot = resp.GetSnapshotId()
			}
			return resp, err
		}},
		{"SnapshotRevert", func(ctx context.Context, id string) (proto.Message, error) {
			return c.SnapshotRevert(ctx, &providerv1.SnapshotRevertRequest{VmId: id, SnapshotId: snapshot})
		}},
		{"SnapshotDelete", func(ctx context.Context, id string) (proto.Message, error) {
			return c.SnapshotDelete(ctx, &providerv1.SnapshotDeleteRequest{VmId: id, SnapshotId: snapshot})
		}},
		{"Clone", func(ctx context.Context, id string) (proto.Message, error) {
			return c.Clone(ctx, &providerv1.CloneRequest{SourceVmId: id, TargetName: "web-2", Linked: true, CustomizeJson: `{"hostname":"second"}`})
		}},
		{"ImagePrepare", func(ctx context.Context, _ string) (proto.Message, error) {
			return c.ImagePrepare(ctx, &providerv1.ImagePrepareRequest{TargetName: "img", ImageJson: w.job("disk.raw")})
		}},
		{"ExportDisk", func(ctx context.Context, id string) (proto.Message, error) { return c.ExportDisk(ctx, w.export(id)) }},
		{"ImportDisk", func(ctx context.Context, _ string) (proto.Message, error) { return c.ImportDisk(ctx, w.importing()) }},
		{"HardwareUpgrade", func(ctx context.Context, id string) (proto.Message, error) {
			return c.HardwareUpgrade(ctx, &providerv1.HardwareUpgradeRequest{Id: id})
		}},
		{"ListHosts", func(ctx context.Context, _ string) (proto.Message, error) {
			return c.ListHosts(ctx, &providerv1.ListHostsRequest{})
		}},
		{"GetHostInfo", func(ctx context.Context, _ string) (proto.Message, error) {
			return c.GetHostInfo(ctx, &providerv1.GetHostInfoRequest{})
		}},
		{"Delete", func(ctx context.Context, id string) (proto.Message, error) {
			return c.Delete(ctx, &providerv1.DeleteRequest{Id: id})
		}},
	}
}

func (w *secretsTest) desired() string {
	return fmt.Sprintf(`{"Name":"web-1","Class":{"CPU":4,"MemoryMiB":4096,"Firmware":"UEFI","ExtraConfig":{"password":%q}},"Networks":[{"Bridge":"br0","StaticIP":"192.0.2.10","Prefix":24,"Gateway":"192.0.2.1"}],"Disks":[{"SizeGiB":5,"Type":"thin","Name":"data"}],"UserData":{"CloudInit":{"Inline":%q}}}`,
		w.marks.Secret("password in the extra config"), w.marks.Secret("password in the user data"))
}

// job requests an image whose URL contains a password and a signature.
func (w *secretsTest) job(file string) string {
	return fmt.Sprintf(`{"source":{"libvirt":{"url":%q}},"prepare":{"retries":0}}`, w.web.url(file))
}

func (w *secretsTest) export(id string) *providerv1.ExportDiskRequest {
	return &providerv1.ExportDiskRequest{
		VmId: id, DestinationUrl: "s3://bucket/vmmigrations/ns/secret/export.qcow2", Format: "qcow2", Credentials: w.s3Secrets(), BackendType: "s3",
		TransferMode: "auto", StorageOptionsJson: w.depot.options("s3"),
	}
}

func (w *secretsTest) importing() *providerv1.ImportDiskRequest {
	content := sample(w.t, "v3.qcow2")
	w.depot.put(w.t, "s3", "v3.qcow2", content)
	req := w.depot.importOf("s3", "v3.qcow2", "qcow2", "moved", content)
	req.Credentials = w.s3Secrets()
	return req
}

// callAll calls every RPC and polls the resulting tasks, whatever their result.
func (w *secretsTest) callAll(when string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	for _, s := range w.steps() {
		resp, err := s.call(ctx, idOfWeb1)
		w.answer(when, s.method, resp, err)
		if when == "undisturbed" && err != nil && !strings.Contains(err.Error(), "Unimplemented") {
			w.t.Errorf("%s: %v", s.method, err)
		}
		if tasked, ok := resp.(interface{ GetTask() *providerv1.TaskRef }); ok && err == nil {
			w.follow(ctx, when, tasked.GetTask())
		}
	}
}

// follow polls a task for some time.
func (w *secretsTest) follow(ctx context.Context, when string, task *providerv1.TaskRef) {
	w.t.Helper()
	for range 500 {
		if task.GetId() == "" {
			return
		}
		resp, err := w.client.TaskStatus(ctx, &providerv1.TaskStatusRequest{Task: task})
		w.answer(when, "TaskStatus", resp, err)
		if err != nil || resp.GetDone() {
			return
		}
		time.Sleep(2 * time.Millisecond) // as a manager does, but faster
	}
}

// malformedRequests sends unreadable requests, with secrets in wrong fields.
func (w *secretsTest) malformedRequests() {
	w.t.Helper()
	secret := w.marks.Secret("secret in a request that cannot be read")
	for _, text := range []string{secret, `{"` + secret, `{"CPU":"` + secret + `"}`, `["` + secret + `"]`, `{"Name":{"a":"` + secret + `"}}`, `{"source":"` + secret + `"}`, "\x00" + secret} {
		req := w.vmWithSecrets("bad")
		calls := []step{
			{"class_json", func(ctx context.Context, _ string) (proto.Message, error) {
				req.ClassJson = text
				return w.client.Create(ctx, req)
			}},
			{"networks_json", func(ctx context.Context, _ string) (proto.Message, error) {
				req.ClassJson, req.NetworksJson = "", text
				return w.client.Create(ctx, req)
			}},
			{"meta_data", func(ctx context.Context, _ string) (proto.Message, error) {
				req.NetworksJson, req.MetaData = "", []byte("a: ["+text)
				return w.client.Create(ctx, req)
			}},
			{"image_json", func(ctx context.Context, _ string) (proto.Message, error) {
				return w.client.ImagePrepare(ctx, &providerv1.ImagePrepareRequest{TargetName: "img", ImageJson: text})
			}},
			{"desired_json", func(ctx context.Context, id string) (proto.Message, error) {
				return w.client.Reconfigure(ctx, &providerv1.ReconfigureRequest{Id: id, DesiredJson: text})
			}},
			{"storage_options_json", func(ctx context.Context, _ string) (proto.Message, error) {
				req := w.importing()
				req.StorageOptionsJson = text
				return w.client.ImportDisk(ctx, req)
			}},
			{"source_url", func(ctx context.Context, _ string) (proto.Message, error) {
				req := w.importing()
				req.SourceUrl = "s3://user:" + text + "@bucket:port/key?X-Amz-Signature=" + text
				return w.client.ImportDisk(ctx, req)
			}},
		}
		for _, s := range calls {
			resp, err := s.call(w.t.Context(), idOfWeb1)
			w.answer("that cannot be read", s.method, resp, err)
		}
	}
}

// refusals makes the NAS refuse each of its methods with the call's parameters in the text, as a call, as a job and at login.
func (w *secretsTest) refusals() {
	w.t.Helper()
	w.nas.ResetCalls()
	w.callAll("once more")
	methods := map[string]bool{}
	for _, method := range w.nas.Calls() {
		methods[method] = true
	}
	echo := fmt.Sprintf("[EFAULT] failed with {'username': 'root', 'api_key': '%s'} and /_download/1?auth_token=%s", w.key, w.marks.Secret("token of a download"))
	for method := range methods {
		for _, f := range []sim.Fault{
			{Then: sim.Refuse, Err: &sim.CallError{Errno: 14, Reason: echo, Message: echo}},
			{Then: sim.Refuse, Err: &sim.CallError{Code: -32602, Errno: 22, Reason: echo, Extra: [][]any{{"vm_create." + w.key, echo, 22}, {w.key, w.key, 22}}}},
			{Then: sim.FailJob, Err: &sim.CallError{Errno: 14, Reason: echo}},
			{Then: sim.CutAfter},
		} {
			f.Method = method
			w.nas.Inject(f)
		}
		w.callAll("refused at " + method)
		w.nas.ClearFaults()
	}
}

// outages cuts the link, takes the NAS away, and refuses the login with the key in the text.
func (w *secretsTest) outages() {
	w.t.Helper()
	w.callUntilLogged("lost the connection", w.nas.RestartMiddleware)
	w.callUntilLogged("cannot connect", func() { w.nas.SetOffline(true) })
	w.callUntilLogged("connected to TrueNAS", func() { w.nas.SetOffline(false) })
	w.callUntilLogged("login refused", func() {
		w.nas.Inject(sim.Fault{Method: "auth.login_ex", Then: sim.Refuse, Err: &sim.CallError{
			Code: -32602, Errno: 22, Reason: w.key, Extra: [][]any{{"login_data.api_key", w.key + " is not a key", 22}},
		}})
		w.nas.CutConnections()
	})
}

// callUntilLogged triggers an event, and makes calls until the log reports it.
func (w *secretsTest) callUntilLogged(says string, happens func()) {
	w.t.Helper()
	before := len(w.log.Bytes())
	happens()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		resp, err := w.client.Validate(w.t.Context(), &providerv1.ValidateRequest{})
		w.answer("when "+says, "Validate", resp, err)
		vm, err := w.client.Describe(w.t.Context(), &providerv1.DescribeRequest{Id: idOfWeb1})
		w.answer("when "+says, "Describe", vm, err)
		if strings.Contains(string(w.log.Bytes()[before:]), says) {
			return
		}
	}
	w.t.Errorf("the log lacks %q", says)
}
