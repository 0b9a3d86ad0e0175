package main

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/zap/zapcore"

	"virtrigaud-provider-truenas/config"
	"virtrigaud-provider-truenas/omni"
)

// options are the settings of the program. The settings of the NAS are read as in the provider.
type options struct {
	endpoint, key  string
	skipVerify     bool
	id, name, text string
	providers      []string
	domains        []string
	tlsDir         string
	plaintext      bool
	config         string
	credentials    string
	factory        string
	logins         string
	format         string
	concurrency    uint

	kubeletID, hostname, join bool
	stop, health, watch       time.Duration
	leaveStopped              bool
	orphans                   string
	grace, joinTimeout        time.Duration

	election, namespace string
	probes              string
	page                bool
	level, logFormat    string
}

const defaultID = "truenas"

func addFlags(f *pflag.FlagSet) *options {
	o := &options{}
	f.StringVar(&o.endpoint, "omni-api-endpoint", "", "https://host of Omni")
	f.StringVar(&o.key, "omni-service-account-key", "", "key of the provider's service account; prefer the environment, since every user of a machine sees command lines")
	f.BoolVar(&o.skipVerify, "insecure-skip-verify", false, "accept any certificate of Omni")
	f.StringVar(&o.id, "id", defaultID, "the provider's id in Omni")
	f.StringVar(&o.name, "provider-name", "TrueNAS", "the provider's name in Omni")
	f.StringVar(&o.text, "provider-description", "Virtual machines on TrueNAS", "the provider's description in Omni")
	f.StringArrayVar(&o.providers, "provider", nil, "[name=]HOST:PORT of a provider.v1 service; may be repeated (default: the NAS of --config, inside this program)")
	f.StringArrayVar(&o.domains, "failure-domain", nil, "NAME=DOMAIN: failure domain of the --provider with that name, such as its rack; may be repeated (default: its name)")
	f.StringVar(&o.tlsDir, "provider-tls-dir", "/etc/virtrigaud/tls", "folder of tls.crt, tls.key and ca.crt, for calls to --provider")
	f.BoolVar(&o.plaintext, "provider-insecure", false, "call --provider unencrypted")
	f.StringVar(&o.config, "config", "", "YAML file of the settings for the NAS, as for the provider")
	f.StringVar(&o.credentials, "credentials-dir", "", "folder of credentials for the NAS, as for the provider")
	f.StringVar(&o.factory, "image-factory", "", "https://host of the image factory (default: the one that Omni uses)")
	f.StringVar(&o.logins, "image-factory-logins", "", "YAML file with user names and passwords of image factories: \"https://host: {username: ..., password: ...}\"")
	f.StringVar(&o.format, "image-format", omni.FormatAuto, "auto, raw.zst, raw.xz or qcow2: format of the images from the image factory; auto is the fastest that it serves")
	f.UintVar(&o.concurrency, "concurrency", 8, "number of requests processed at the same time")
	f.BoolVar(&o.kubeletID, "kubelet-provider-id", false, "set the kubelet's provider id to truenas://<provider>/<VM>")
	f.BoolVar(&o.hostname, "static-hostname", false, "set the host name to the request's id")
	f.BoolVar(&o.join, "wait-for-join", false, "report a machine as provisioned only after it has joined Omni")
	f.DurationVar(&o.stop, "stop-timeout", time.Minute, "time limit for the shutdown of a released machine")
	f.DurationVar(&o.health, "health-interval", 15*time.Second, "how often the provider reports its health to Omni; at most 25s")
	f.DurationVar(&o.watch, "watch-interval", 30*time.Second, "how often machines are compared with Omni's requests; at least 10s")
	f.BoolVar(&o.leaveStopped, "leave-stopped", false, "do not restart machines that are off")
	f.StringVar(&o.orphans, "orphans", "report", "report, remove or ignore machines of this provider whose request is gone")
	f.DurationVar(&o.grace, "orphan-grace", time.Hour, "how long a request must be gone before --orphans applies")
	f.DurationVar(&o.joinTimeout, "join-timeout", 20*time.Minute, "report a machine that has run this long and has not joined Omni")
	f.StringVar(&o.election, "leader-election", "auto", "leader election among replicas: on, off or auto (on in a Kubernetes cluster)")
	f.StringVar(&o.namespace, "leader-election-namespace", "", "namespace of the Lease (default: the pod's)")
	f.StringVar(&o.probes, "health-listen", "", "address of /healthz, /readyz, /metrics and the status page (default: not served)")
	f.BoolVar(&o.page, "status-page", true, "false: no status page at the health address")
	f.StringVar(&o.level, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&o.logFormat, "log-format", "json", "json or console")
	f.VisitAll(func(flag *pflag.Flag) { flag.Usage += " [" + strings.Join(variables(flag.Name), ", ") + "]" })
	return o
}

// variables returns the environment variables for a flag: one with the program's prefix, and the names that Omni providers
// commonly use.
func variables(flag string) []string {
	own := "OMNI_PROVIDER_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
	switch flag {
	case "omni-api-endpoint":
		return []string{"OMNI_ENDPOINT"}
	case "omni-service-account-key":
		return []string{"OMNI_SERVICE_ACCOUNT_KEY"}
	case "log-level":
		return []string{own, "LOG_LEVEL"}
	case "log-format":
		return []string{own, "LOG_FORMAT"}
	}
	return []string{own}
}

// fromEnvironment sets the flags that are not on the command line from their variables.
func fromEnvironment(f *pflag.FlagSet, lookupEnv func(string) (string, bool)) error {
	var wrong []error
	f.VisitAll(func(flag *pflag.Flag) {
		if flag.Changed || flag.Name == "version" || flag.Name == "help" {
			return
		}
		for _, name := range variables(flag.Name) {
			text, _ := lookupEnv(name)
			if text = strings.TrimSpace(text); text == "" {
				continue
			}
			values := []string{text}
			if flag.Name == "provider" || flag.Name == "failure-domain" {
				values = strings.Split(text, ",")
			}
			for _, value := range values {
				if err := f.Set(flag.Name, value); err != nil {
					wrong = append(wrong, fmt.Errorf("%s: %w", name, err))
				}
			}
			return
		}
	})
	return errors.Join(wrong...)
}

// check reports all mistakes at once.
func (o *options) check() error {
	var wrong []error
	bad := func(flag, format string, args ...any) {
		wrong = append(wrong, fmt.Errorf("--%s (%s): %s", flag, strings.Join(variables(flag), ", "), fmt.Sprintf(format, args...)))
	}
	if o.endpoint == "" {
		bad("omni-api-endpoint", "missing: https://host of Omni")
	} else if !isAddress(o.endpoint, "https", "http", "grpc") {
		bad("omni-api-endpoint", "%q is not of the form https://host", config.WithoutSecrets(o.endpoint))
	} else if strings.Contains(o.endpoint, "@") {
		bad("omni-api-endpoint", "holds a user name or password, which Omni does not use; the service account's key is for that")
	}
	if o.factory != "" && !isAddress(o.factory, "https", "http") {
		bad("image-factory", "%q is not of the form https://host", config.WithoutSecrets(o.factory))
	}
	if o.key == "" {
		bad("omni-service-account-key", "missing: omnictl infraprovider create %s prints it", o.id)
	}
	if !omni.IsProviderID(o.id) {
		bad("id", "%q is not a DNS label, which Omni 1.10 requires: up to 63 lower-case letters, digits and hyphens", o.id)
	}
	if o.watch < 10*time.Second {
		bad("watch-interval", "%v; at least 10s are allowed, to limit the load of the NAS", o.watch)
	}
	if o.election != "on" && o.election != "off" && o.election != "auto" {
		bad("leader-election", "%q is not on, off or auto", o.election)
	}
	if len(o.providers) > 0 && o.config != "" {
		bad("config", "conflicts with --provider: this program manages a NAS either itself or through providers")
	}
	if o.logFormat != "json" && o.logFormat != "console" && o.logFormat != "text" {
		bad("log-format", "%q is not json or console", o.logFormat)
	}
	if _, err := zapcore.ParseLevel(o.level); err != nil {
		bad("log-level", "%q is not debug, info, warn or error", o.level)
	}
	o.checkProviders(bad)
	return errors.Join(wrong...)
}

// checkProviders reports the mistakes of the repeatable flags.
func (o *options) checkProviders(bad func(flag, format string, args ...any)) {
	var names []string
	for _, text := range o.providers {
		name, address := named(text)
		switch {
		case slices.Contains(names, name) || address == "" || !strings.Contains(address, ":"):
			bad("provider", "%q is not of the form name=HOST:PORT, or its name is given twice", text)
		case !omni.IsBackendName(name):
			bad("provider", "%q: the name may have up to 63 letters, digits, dots, hyphens and underscores", text)
		}
		names = append(names, name)
	}
	if len(o.providers) == 0 {
		names = []string{unnamed}
	}
	given := map[string]bool{}
	for _, text := range o.domains {
		name, domain, _ := strings.Cut(text, "=")
		switch {
		case !omni.IsBackendName(domain):
			bad("failure-domain", "%q is not of the form NAME=DOMAIN, whose domain has up to 63 letters, digits, dots, hyphens and underscores", text)
		case !slices.Contains(names, name):
			bad("failure-domain", "%q names no provider; there are %s", text, strings.Join(names, ", "))
		case given[name]:
			bad("failure-domain", "%q: %s has a failure domain already", text, name)
		}
		given[name] = true
	}
}

// failureDomain returns the failure domain of a backend, or "" without one. The flags are already checked.
func (o *options) failureDomain(provider string) string {
	for _, text := range o.domains {
		if name, domain, _ := strings.Cut(text, "="); name == provider {
			return domain
		}
	}
	return ""
}

// origin returns the host of Omni's address, which identifies this Omni on a NAS that several use.
func (o *options) origin() string {
	endpoint, err := url.Parse(o.endpoint)
	if err != nil {
		return ""
	}
	return endpoint.Hostname()
}

// isAddress reports whether a text is a URL of one of the schemes, with a host.
func isAddress(text string, schemes ...string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Hostname() != "" && slices.Contains(schemes, u.Scheme)
}

// unnamed is the default name of a single backend, over the network or inside the program.
const unnamed = "truenas"

func named(text string) (name, address string) {
	name, address, ok := strings.Cut(text, "=")
	if !ok {
		return unnamed, text
	}
	return name, address
}

// settings converts the options into the configuration of the adapter.
func (o *options) settings() omni.Config {
	return omni.Config{
		ID: o.id, Name: o.name, Description: o.text, FactoryURL: o.factory, ImageFormat: o.format, Concurrency: o.concurrency,
		KubeletProviderID: o.kubeletID, StaticHostname: o.hostname, WaitForJoin: o.join, StopTimeout: o.stop, HealthInterval: o.health,
		WatchInterval: o.watch, LeaveStopped: o.leaveStopped, Orphans: omni.Orphans(o.orphans), OrphanGrace: o.grace, JoinTimeout: o.joinTimeout,
	}
}
