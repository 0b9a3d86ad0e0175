// Package configcheck is the command "config check" of the programs that connect to a NAS: it checks the settings against the
// NAS without changes, and prints a table of the results with a remedy for each fault.
package configcheck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"virtrigaud-provider-truenas/cmd/internal/assemble"
	"virtrigaud-provider-truenas/cmd/internal/program"
	"virtrigaud-provider-truenas/config"
	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/server/placement"
	"virtrigaud-provider-truenas/truenas"
)

// patience limits the wait for a NAS that does not respond. One attempt to log in may take half a minute.
const patience = 45 * time.Second

// A Program has the command.
type Program struct {
	Seeds bool // the program needs the right to upload seeds

	// Prepare, if set, changes flags and environment to those that the program uses.
	Prepare func(flags *pflag.FlagSet, lookupEnv func(string) (string, bool)) (func(string) (string, bool), error)
}

// Command returns the rows of the command table.
func (p Program) Command(lookupEnv func(string) (string, bool), out io.Writer) program.Command {
	return program.Command{
		Use: "config", Short: "Check the configuration",
		Commands: []program.Command{{
			Use:   "check [flags]",
			Short: "Check the settings against the NAS without changes",
			Long: `Checks the settings against the NAS and changes nothing there: address, certificate, login, roles, dataset and network.
It prints a table with a line for each check, and what to do about those that fail. The exit status is 1 when one fails.`,
			Flags: config.AddFlags,
			Run: func(ctx context.Context, flags *pflag.FlagSet, _ []string) error {
				return p.run(ctx, flags, lookupEnv, out)
			},
		}},
	}
}

// run checks the settings. It returns an error when a check fails.
func (p Program) run(ctx context.Context, flags *pflag.FlagSet, lookupEnv func(string) (string, bool), out io.Writer) error {
	if p.Prepare != nil {
		prepared, err := p.Prepare(flags, lookupEnv)
		if err != nil {
			return program.Usage(err)
		}
		lookupEnv = prepared
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	found := p.check(ctx, flags, lookupEnv)
	if err := show(out, found); err != nil {
		return err
	}
	return verdict(found)
}

// check runs as many checks as possible. It reads the NAS's certificate even when the settings have mistakes, because its
// fingerprint may be the missing setting. The checks on the NAS need correct settings and a reachable NAS.
func (p Program) check(ctx context.Context, flags *pflag.FlagSet, lookupEnv func(string) (string, bool)) []server.Finding {
	cfg, mistakes := config.Load(flags, lookupEnv)
	if _, err := placement.Parse(cfg.Storage.ChoosePool); err != nil {
		mistakes = errors.Join(mistakes, fmt.Errorf("storage.choose_pool: %w", err))
	}
	found := settings(cfg, mistakes)
	nas := assemble.Client(cfg, zap.NewNop())
	certificate, reached := lookAt(ctx, cfg, nas)
	found = append(found, certificate...)
	if mistakes != nil || !reached {
		return found
	}
	provider, closeAll, err := assemble.Provider(cfg, zap.NewNop())
	if err != nil {
		return append(found, server.Finding{About: "settings", Verdict: server.Prevent, Found: err.Error()})
	}
	if p.Seeds {
		found = append(found, provider.Preflight(ctx, server.Seeds)...)
	} else {
		found = append(found, provider.Preflight(ctx)...)
	}
	if err := closeAll(); err != nil {
		found = append(found, server.Finding{About: "login", Verdict: server.Partly, Found: "close of the connection failed: " + err.Error()})
	}
	return found
}

// settings reports all mistakes and warnings of the configuration. Each text contains its remedy.
func settings(cfg config.Config, mistakes error) []server.Finding {
	var found []server.Finding
	if mistakes != nil {
		for line := range strings.SplitSeq(mistakes.Error(), "\n") {
			found = append(found, server.Finding{About: "settings", Verdict: server.Prevent, Found: line})
		}
	}
	for _, warning := range cfg.Warnings {
		found = append(found, server.Finding{About: "settings", Verdict: server.Partly, Found: warning})
	}
	if found == nil {
		found = []server.Finding{{About: "settings", Found: fmt.Sprintf("complete; provider %q, NAS %s, dataset %s", cfg.ID, cfg.TrueNAS.URL, cfg.Storage.Dataset)}}
	}
	return found
}

// lookAt reports whether the NAS is reachable, and describes its certificate.
func lookAt(ctx context.Context, cfg config.Config, nas truenas.Config) (found []server.Finding, reached bool) {
	if cfg.TrueNAS.URL == "" {
		return nil, false
	}
	seen, err := nas.Certificate(ctx)
	if err != nil {
		return []server.Finding{{About: "address", Verdict: server.Prevent, Found: err.Error(),
			Advice: "check truenas.url, and that name service, routing and firewall let this machine reach the NAS's web interface"}}, false
	}
	found = []server.Finding{{About: "address", Found: cfg.TrueNAS.URL + " answers at " + seen.Address}}
	if seen.Fingerprint == "" {
		return append(found, server.Finding{About: "certificate", Verdict: server.Partly, Found: "none: the connection is not encrypted", Advice: "write https://"}), true
	}
	return append(found, certificate(cfg, seen)...), seen.Distrust == nil
}

func certificate(cfg config.Config, seen truenas.Certificate) []server.Finding {
	signed := "signed by an authority"
	if seen.SelfSigned {
		signed = "self-signed"
	}
	f := server.Finding{About: "certificate", Found: fmt.Sprintf("%s, for %s, until %s", signed, strings.Join(seen.Names, ", "), seen.NotAfter.UTC().Format(time.DateOnly))}
	sum := server.Finding{About: "fingerprint", Found: seen.Fingerprint}
	switch {
	case seen.Distrust != nil && cfg.TrueNAS.Fingerprint != "":
		f.Verdict, f.Found = server.Prevent, f.Found+"; the fingerprint differs from truenas.fingerprint"
		f.Advice = "if the NAS was given a new certificate, set truenas.fingerprint to the one below; if not, another host intercepts the connection"
	case seen.Distrust != nil:
		f.Verdict, f.Found = server.Prevent, f.Found+"; not trusted: "+seen.Distrust.Error()
		f.Advice = "compare the fingerprint below with the one of the certificate in TrueNAS, then set truenas.fingerprint to it; or set truenas.ca_file to the authority that signed it"
	case cfg.TrueNAS.Fingerprint != "":
		f.Found += "; pinned"
	case cfg.TrueNAS.InsecureSkipVerify:
		f.Verdict, f.Found = server.Partly, f.Found+"; not checked"
		f.Advice = "set truenas.fingerprint to the fingerprint below instead of truenas.insecureSkipVerify"
	default:
		f.Found += "; trusted"
	}
	return []server.Finding{f, sum}
}
