package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

const fingerprint = "AA:bb:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99"

// load runs Load as a command would, with no credentials directory except a given one.
func load(t *testing.T, env map[string]string, args ...string) (Config, error) {
	t.Helper()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	AddFlags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	if _, ok := env["PROVIDER_CREDENTIALS_DIR"]; !ok && !flags.Changed("credentials-dir") {
		args = append(args, "--credentials-dir", t.TempDir())
		if err := flags.Parse(args); err != nil {
			t.Fatal(err)
		}
	}
	return Load(flags, func(name string) (string, bool) { v, ok := env[name]; return v, ok })
}

func write(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFiveLinesSuffice(t *testing.T) {
	path := write(t, t.TempDir(), "config.yaml", `truenas:
  url: https://nas.example
  username: virtrigaud
  api_key: 1-abc
storage: {dataset: tank/virtrigaud}
`)
	c, err := load(t, nil, "--config", path)
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.ID = "truenas"
	want.TrueNAS = TrueNAS{URL: "https://nas.example", Username: "virtrigaud", APIKey: c.TrueNAS.APIKey}
	want.Storage.Dataset = "tank/virtrigaud"
	if !reflect.DeepEqual(c, want) || c.TrueNAS.APIKey.Reveal() != "1-abc" {
		t.Errorf("got %+v", c)
	}
}

func TestPodOfManager(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "username", "virtrigaud\n")
	write(t, dir, "apiKey", "1-abc\n")
	write(t, dir, "fingerprint", fingerprint)
	if err := os.Mkdir(filepath.Join(dir, "..data"), 0o700); err != nil {
		t.Fatal(err)
	}
	c, err := load(t, map[string]string{
		"PROVIDER_TYPE": "qemu", "PROVIDER_ENDPOINT": "https://nas.example:8443", "PROVIDER_NAMESPACE": "vms", "PROVIDER_NAME": "nas",
		"TLS_ENABLED": "false", "TLS_INSECURE_SKIP_VERIFY": "true", "VIRTRIGAUD_PROVIDER_INSECURE": "true", "LOG_LEVEL": "INFO",
		"LOG_FORMAT": "text", "PROVIDER_DEFAULT_DATASTORE": "tank", "PROVIDER_DEFAULT_STORAGE_POD": "", "PROVIDER_DEFAULT_CLUSTER": "c",
		"VIRTRIGAUD_PROVIDER_ALLOWED_SANS": "manager, manager.vms.svc", "PROVIDER_CREDENTIALS_DIR": dir,
	}, "--port=9443", "--health-port=8080")
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		ID: "vms.nas", Owner: "vms/nas", Listen: ":9443", HealthListen: ":8080", StatusPage: true, Storage: Storage{Dataset: "tank/virtrigaud"}, AdoptedVMs: "protect",
		TrueNAS: TrueNAS{URL: "https://nas.example:8443", Username: "virtrigaud", APIKey: c.TrueNAS.APIKey, Fingerprint: fingerprint},
		TLS:     TLS{Dir: "/etc/virtrigaud/tls", AllowedSANs: []string{"manager", "manager.vms.svc"}, Insecure: true},
		Log:     Log{Level: "info", Format: "console"},
		Warnings: []string{
			"PROVIDER_DEFAULT_CLUSTER is ignored: TrueNAS has no equivalent",
			"truenas.insecureSkipVerify is ignored: truenas.fingerprint identifies the certificate",
		},
	}
	if !reflect.DeepEqual(c, want) || c.TrueNAS.APIKey.Reveal() != "1-abc" {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

func TestHigherLayersWin(t *testing.T) {
	dir := t.TempDir()
	credentials := filepath.Join(dir, "credentials")
	if err := os.Mkdir(credentials, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, credentials, "username", "credentials")
	write(t, credentials, "api_key", "1-credentials")
	write(t, dir, "key", "1-file")
	file := write(t, dir, "config.yaml", `
id: file
listen: 127.0.0.1:1
log: {level: warn}
tls: {allowed_sans: [a, b]}
network:
truenas: {url: "https://file", api_key_file: key, username: file}
storage: {dataset: tank/file}
`)
	c, err := load(t, map[string]string{"TRUENAS_URL": "https://env", "PROVIDER_ENDPOINT": "https://endpoint", "PROVIDER_ID": "env", "PROVIDER_CREDENTIALS_DIR": credentials},
		"--config", file, "--id", "flag", "--port", "2", "--insecure")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, got, want string }{
		{"a flag over everything", c.ID, "flag"},
		{"--port over the file's listen", c.Listen, ":2"},
		{"the environment over the file", c.TrueNAS.URL, "https://env"},
		{"the file over the credentials", c.TrueNAS.Username, "file"},
		{"the file's key file over the credentials' key, relative to the file", c.TrueNAS.APIKey.Reveal(), "1-file"},
		{"the file over the defaults", c.Log.Level, "warn"},
		{"a list of the file", strings.Join(c.TLS.AllowedSANs, " "), "a b"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, tt.got, tt.want)
		}
	}
	if !c.TLS.Insecure {
		t.Error("a bare --insecure does not mean true")
	}
}

func TestDatasetAndPool(t *testing.T) {
	for _, tt := range []struct{ name, dataset, pool, want, fault string }{
		{"a dataset", "tank/a/b", "", "tank/a/b", ""},
		{"a pool", "", "fast", "fast/virtrigaud", ""},
		{"a dataset as the default datastore", "", "fast/vms", "fast/vms", ""},
		{"both, one in the other", "fast/vms", "fast", "fast/vms", ""},
		{"both, apart", "tank/vms", "fast", "", `storage.pool (PROVIDER_DEFAULT_DATASTORE): "fast" does not hold storage.dataset "tank/vms" (--dataset)`},
		{"a pool as the dataset", "tank", "", "", `storage.dataset (--dataset): "tank" is a whole pool: write tank/virtrigaud`},
		{"letters that ZFS refuses", "tank/a*b", "", "", `storage.dataset (--dataset): "tank/a*b" is not a dataset`},
		{"a space", "my tank/a b", "", "my tank/a b", ""},
		{"a path", "/mnt/tank/a", "", "", `"/mnt/tank/a" is not a dataset`},
		{"a snapshot", "tank/a@b", "", "", `"tank/a@b" is not a dataset`},
		{"too long", "tank/" + strings.Repeat("a", 100), "", "", "is longer than 100 characters"},
		{"a dataset of TrueNAS", "tank/ix-apps/vms", "", "", `"tank/ix-apps/vms" is reserved by TrueNAS`},
		{"a name that TrueNAS hides", "tank/a/ix-applications-2", "", "", "is reserved by TrueNAS"},
		{"the boot pool", "boot-pool/vms", "", "", "is reserved by TrueNAS"},
		{"a similar name", "tank/my-ix-apps", "", "tank/my-ix-apps", ""},
		{"neither", "", "", "", "storage.dataset: missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := load(t, map[string]string{"PROVIDER_DEFAULT_DATASTORE": tt.pool, "TRUENAS_API_KEY": "1-a"},
				"--truenas-url=https://nas", "--truenas-username=u", "--dataset", tt.dataset)
			switch {
			case tt.fault == "" && (err != nil || c.Storage.Dataset != tt.want):
				t.Errorf("got %q, %v", c.Storage.Dataset, err)
			case tt.fault != "" && (err == nil || !strings.Contains(err.Error(), tt.fault)):
				t.Errorf("got %v, want %s", err, tt.fault)
			}
		})
	}
	if got := (Storage{Dataset: "tank/a/b"}).Pool(); got != "tank" {
		t.Errorf("the pool is %q", got)
	}
}

func TestImages(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "accessKeyID", "key")
	write(t, dir, "secretAccessKey", "sesame")
	file := write(t, t.TempDir(), "config.yaml", `
truenas: {url: "https://nas", username: u, api_key: 1-a}
storage: {dataset: tank/a}
images:
  unused_for: 720h
  max_gib: 64
  max_expansion: 200.5
  memory_mib: 128
  allow_addresses: [10.0.0.0/8, "::1"]
  file_roots: [/images]
  docker_config: docker.json
  s3: {endpoint: minio.example, region: eu, path_style: true}
`)
	c, err := load(t, nil, "--config", file, "--credentials-dir", dir)
	if err != nil {
		t.Fatal(err)
	}
	if c.Images.S3.SecretAccessKey.Reveal() != "sesame" {
		t.Error("the secret key is not read")
	}
	want := Images{
		UnusedFor: 720 * time.Hour, MaxGiB: 64, MaxExpansion: 200.5, MemoryMiB: 128, FileRoots: []string{"/images"}, DockerConfig: filepath.Join(filepath.Dir(file), "docker.json"),
		AllowAddresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")},
		S3:             S3{Endpoint: "minio.example", Region: "eu", PathStyle: true, AccessKeyID: "key", SecretAccessKey: c.Images.S3.SecretAccessKey},
	}
	if !reflect.DeepEqual(c.Images, want) {
		t.Errorf("got  %+v\nwant %+v", c.Images, want)
	}
}

func TestImageMistakes(t *testing.T) {
	for _, tt := range []struct{ name, flag, want string }{
		{"a duration without a unit", "--images-unused-for=30", `images.unused_for (--images-unused-for): "30" is not a duration such as 720h`},
		{"a negative duration", "--images-unused-for=-1h", "is not a duration"},
		{"no gibibytes", "--images-max-gib=0", `images.max_gib (--images-max-gib): "0" is not a number from 1 to 1048576`},
		{"half a gibibyte", "--images-max-gib=1.5", "is not a number"},
		{"more than there is", "--images-max-gib=1e300", "is not a number"},
		{"memory for less than one image", "--images-memory-mib=8", `images.memory_mib (--images-memory-mib): "8" is not a number from 32 to 1048576`},
		{"no number", "--images-max-expansion=NaN", "is not a number"},
		{"no address", "--images-allow-addresses=10.0.0.0/8,nas", `"nas" is neither an address nor a network`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(t, nil, tt.flag)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}
