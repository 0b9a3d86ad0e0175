package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"virtrigaud-provider-truenas/server/hardware"
	"virtrigaud-provider-truenas/truenas"
)

// Verdict is the severity of a [Finding].
type Verdict int

// The verdicts.
const (
	Works   Verdict = iota // no problem
	Partly                 // an optional feature does not work
	Prevent                // the provider, or one of its basic features, does not work until this is fixed
)

// A Finding is one result of [Server.Preflight].
type Finding struct {
	About   string // "pool"
	Verdict Verdict
	Found   string
	Advice  string // the remedy; empty without a problem
}

// spaceLow is the free space below which Preflight warns: less than one disk of the usual size.
const spaceLow = 20 << 30

// Preflight checks the configuration against the NAS: connection, login, the objects that it names, and the rights of the
// key. The caller may name further required features. Preflight changes nothing.
func (s *Server) Preflight(ctx context.Context, needed ...feature) []Finding {
	if err := s.nas.Connect(ctx); err != nil {
		return []Finding{s.unreachable(err)}
	}
	found := []Finding{s.releaseFinding(), s.loginFinding()}
	found = append(found, s.rightsFindings(needed)...)
	found = append(found, s.storageFindings(ctx)...)
	found = append(found, s.choiceFindings(ctx)...)
	found = append(found, s.networkFinding(ctx), s.memoryFinding(ctx))
	return append(found, s.hostDeviceFindings(ctx)...)
}

// unreachable is the finding for a failed connection or login.
func (s *Server) unreachable(err error) Finding {
	f := Finding{About: "login", Verdict: Prevent, Found: err.Error()}
	var dns *net.DNSError
	switch {
	case errors.Is(err, truenas.ErrCertificate):
		f.About, f.Advice = "certificate", "compare the fingerprint above with the one in TrueNAS and set truenas.fingerprint to it, or set truenas.ca_file"
	case errors.Is(err, truenas.ErrUnsupported):
		f.About, f.Advice = "release", "update TrueNAS to 25.04.2 or later: VMs have no API before"
	case errors.Is(err, truenas.ErrAuth):
		f.Advice = "make a new API key in TrueNAS under Credentials, Users, API Keys; truenas.username must be the user that it belongs to"
	case errors.As(err, &dns):
		f.About, f.Advice = "address", "check the host in truenas.url"
	default:
		f.About, f.Advice = "address", "check truenas.url, and that port and firewall let this machine reach the NAS's web interface"
	}
	return f
}

func (s *Server) releaseFinding() Finding {
	st := s.nas.Status()
	return Finding{About: "release", Found: fmt.Sprintf("%s, API of %s, round trip %s", st.System, s.nas.Release(), st.Latency.Round(100*time.Microsecond))}
}

func (s *Server) loginFinding() Finding {
	roles := strings.Join(s.nas.Status().Roles, ", ")
	if roles == "" {
		roles = "unknown"
	}
	return Finding{About: "login", Found: "accepted; roles: " + roles}
}

// storageFindings checks the pool, the dataset and its free space. The root dataset of a pool has the space available to datasets,
// which is less than the pool's free space.
func (s *Server) storageFindings(ctx context.Context) []Finding {
	pool := s.layout.Pool()
	root, err := s.nas.Datasets.Get(ctx, pool)
	if err != nil {
		return []Finding{s.noPool(ctx, pool, err)}
	}
	found := []Finding{s.poolFinding(ctx, pool)}
	dataset, err := s.nas.Datasets.Get(ctx, s.cfg.Dataset)
	switch {
	case errors.Is(err, truenas.ErrNotFound):
		found = append(found, Finding{About: "dataset", Found: s.cfg.Dataset + " does not exist yet; the first VM or image creates it"})
	case err != nil:
		found = append(found, queryFailed("dataset", err))
	case dataset.Type != "FILESYSTEM":
		found = append(found, Finding{"dataset", Prevent, s.cfg.Dataset + " is a volume", "set storage.dataset to a dataset, or to one that does not exist yet"})
	case dataset.Locked:
		found = append(found, Finding{"dataset", Prevent, s.cfg.Dataset + " is encrypted and locked", "unlock it in TrueNAS"})
	default:
		root = dataset
		found = append(found, Finding{About: "dataset", Found: s.cfg.Dataset}, s.installationFinding(dataset))
	}
	return append(found, spaceFinding(root))
}

// installationFinding reports which installation owns the dataset.
func (s *Server) installationFinding(root truenas.Dataset) Finding {
	switch c, marked, accepted := s.claims.Of(root); {
	case marked && !accepted:
		return Finding{"installation", Prevent, fmt.Sprintf("%s belongs to the installation %s of the provider %q", root.ID, c.ID, c.Provider),
			"if this installation replaces that one, set storage.installation to " + c.ID + "; if both are in use, set id or storage.dataset to another one"}
	case marked:
		return Finding{About: "installation", Found: c.ID}
	}
	return Finding{About: "installation", Found: "the dataset is marked as this installation's at the first start"}
}

// noPool is the finding for a missing pool; it names the existing pools.
func (s *Server) noPool(ctx context.Context, pool string, err error) Finding {
	if !errors.Is(err, truenas.ErrNotFound) {
		return queryFailed("pool", err)
	}
	f := Finding{"pool", Prevent, fmt.Sprintf("the NAS has no pool %q", pool), "set storage.dataset or storage.pool"}
	all, err := s.nas.Datasets.List(ctx, truenas.Cond("id", "!^", "boot-pool"))
	if err != nil {
		return f
	}
	var pools []string
	for _, d := range all {
		if !strings.Contains(d.ID, "/") {
			pools = append(pools, d.ID)
		}
	}
	if len(pools) > 0 {
		f.Advice += "; the NAS has " + strings.Join(pools, ", ")
	}
	return f
}

// poolFinding reports the pool's health, if the key has the role for that.
func (s *Server) poolFinding(ctx context.Context, name string) Finding {
	pools, err := s.nas.System.Pools(ctx)
	if errors.Is(err, truenas.ErrPermission) {
		return Finding{About: "pool", Found: name + "; health unknown: the key needs the role POOL_READ"}
	}
	if err != nil {
		return queryFailed("pool", err)
	}
	for _, p := range pools {
		if p.Name == name && !p.Healthy {
			return Finding{"pool", Partly, name + " is " + p.Status, "check Storage in TrueNAS"}
		}
	}
	return Finding{About: "pool", Found: name + " is ONLINE"}
}

// choiceFindings reports the choice of a pool for a VM that names none.
func (s *Server) choiceFindings(ctx context.Context) []Finding {
	if !s.chooses() {
		return nil
	}
	const about = "pools"
	candidates, err := s.readCandidates(ctx, "")
	if err != nil {
		return []Finding{queryFailed(about, err)}
	}
	chosen, err := s.choosePool(ctx, "storage.choose_pool", candidates, "")
	var found []Finding
	for _, pool := range s.cfg.AllowedPools {
		if _, imported := candidates[pool]; !imported {
			found = append(found, Finding{about, Partly, fmt.Sprintf("the NAS has no pool %q", pool), "import the pool, or remove it from storage.allowed_pools"})
		}
	}
	if err != nil {
		return append(found, Finding{about, Partly, err.Error(), "VMs and images have to name their pool until this is changed"})
	}
	return append(found, Finding{About: about, Found: fmt.Sprintf("VMs that name none are placed on one of %s, now on %s (rule: %s)", strings.Join(s.cfg.AllowedPools, ", "), chosen, s.rule)})
}

func spaceFinding(d truenas.Dataset) Finding {
	f := Finding{About: "space", Found: fmt.Sprintf("%.1f GiB available in %s", float64(d.AvailableBytes)/(1<<30), d.ID)}
	if d.AvailableBytes < spaceLow {
		f.Verdict, f.Advice = Partly, fmt.Sprintf("less than %d GiB: free space, or set storage.dataset to another pool", spaceLow>>30)
	}
	return f
}

// networkFinding checks the default network, and lists the interfaces for NICs.
func (s *Server) networkFinding(ctx context.Context) Finding {
	offered, err := s.nas.Devices.NICAttachChoices(ctx)
	if err != nil {
		return queryFailed("network", err)
	}
	var names []string
	for _, o := range offered {
		names = append(names, o.Name)
	}
	list, name := strings.Join(names, ", "), s.cfg.DefaultNetwork
	for _, o := range offered {
		switch {
		case o.Name != name:
		case o.Kind == "MACVLAN":
			return Finding{"network", Partly, name + " is not a bridge: VMs on it cannot talk to the NAS", "make a bridge over it in TrueNAS and set network.default_nic to that"}
		default:
			return Finding{About: "network", Found: fmt.Sprintf("%s; the NAS offers %s", name, list)}
		}
	}
	if name != "" {
		return Finding{"network", Prevent, fmt.Sprintf("the NAS has no %q to attach a NIC to", name), "set network.default_nic to one of " + list}
	}
	return Finding{"network", Partly, "no default: a VM whose network names no bridge is refused", "set network.default_nic to one of " + list}
}

func (s *Server) memoryFinding(ctx context.Context) Finding {
	bytes, err := s.nas.VMs.AvailableMemory(ctx)
	if err != nil {
		return queryFailed("memory", err)
	}
	f := Finding{About: "memory", Found: fmt.Sprintf("%.1f GiB for VMs", float64(bytes)/(1<<30))}
	if bytes < 1<<30 {
		f.Verdict, f.Advice = Partly, "stop VMs or apps on the NAS: VMs start only when their memory is available"
	}
	return f
}

// queryFailed is the finding for a failed query.
func queryFailed(about string, err error) Finding {
	f := Finding{About: about, Verdict: Prevent, Found: err.Error(), Advice: "run the check again; if the error persists, check the NAS"}
	if errors.Is(err, truenas.ErrPermission) {
		f.Advice = "give the role to the user of the API key, in TrueNAS under Credentials, Groups, Privileges"
	}
	return f
}

// hostDeviceFindings reports the devices of the NAS that VMs can get, each with the VM that has it. A NAS without such devices has
// no finding.
func (s *Server) hostDeviceFindings(ctx context.Context) []Finding {
	list, err := hardware.HostDevices(ctx, s.nas)
	if err != nil {
		return []Finding{{About: "devices", Verdict: Partly, Found: err.Error(), Advice: "VMs cannot use PCI and USB devices of the NAS; check the NAS if VMs need such devices"}}
	}
	var found []Finding
	for _, d := range list {
		use := "free"
		if d.Holder != "" {
			use = "used by VM " + d.Holder
		}
		found = append(found, Finding{About: "devices", Found: d.Name + " (" + d.Description + "): " + use})
	}
	return found
}
