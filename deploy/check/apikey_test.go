package check

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// midclt replaces TrueNAS's command. It records its calls, and lists a privilege after its creation.
const midclt = `#!/bin/sh
flat() { printf %s "$1" | tr -d '\n\t'; }
printf '%s\t%s\t%s\n' "$2" "$(flat "$3")" "$(flat "${4:-}")" >>"$LOG"
have() { grep -q "^$1	" "$LOG"; }
case $2 in
group.query) have group.create && echo '[{"id": 41, "gid": 3001}]' || echo '[]' ;;
user.query) have user.create && echo '[{"id": 71}]' || echo '[]' ;;
privilege.query) have privilege.create && echo '[{"id": 5}]' || echo '[]' ;;
api_key.create) echo '{"id": 9, "key": "9-thekey"}' ;;
*) echo 1 ;;
esac
`

// asked is a change that the script has made, with its last argument.
type asked struct {
	method string
	body   map[string]any
}

// apiKey runs the script, and returns its output and its calls.
func apiKey(t *testing.T, dir string, args ...string) (string, []asked) {
	t.Helper()
	log := filepath.Join(dir, "log")
	before, _ := os.ReadFile(log)
	cmd := exec.Command("sh", append([]string{"../api-key.sh"}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "LOG="+log, "EXPIRES=2027-01-31")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	after, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	var calls []asked
	for line := range strings.Lines(string(after[len(before):])) {
		words := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if strings.HasSuffix(words[0], ".query") {
			continue
		}
		body := words[1]
		if words[2] != "" {
			body = words[2] // of an update, whose first argument is the id
		}
		call := asked{method: words[0]}
		if err := json.Unmarshal([]byte(body), &call.body); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		calls = append(calls, call)
	}
	return string(out), calls
}

func methods(calls []asked) string {
	var names []string
	for _, c := range calls {
		names = append(names, c.method)
	}
	return strings.Join(names, " ")
}

func TestAPIKeyScript(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "midclt"), []byte(midclt), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "log"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	out, calls := apiKey(t, dir, "virtrigaud")
	if out != "username: virtrigaud\napi_key: 9-thekey\n" {
		t.Errorf("it prints %s", out)
	}
	if got := methods(calls); got != "group.create user.create privilege.create api_key.create" {
		t.Fatalf("it asks %s", got)
	}
	if user := calls[1].body; user["group"] != 41.0 || user["password_disabled"] != true || user["smb"] != false {
		t.Errorf("the user is %v", user)
	}
	privilege, key := calls[2].body, calls[3].body
	if got := privilege["local_groups"].([]any); len(got) != 1 || got[0] != 3001.0 || privilege["web_shell"] != false {
		t.Errorf("the privilege is %v", privilege)
	}
	if want := leastRoles(t); !slices.Equal(texts(privilege["roles"]), want) {
		t.Errorf("the roles are %v, want %v", privilege["roles"], want)
	}
	if key["username"] != "virtrigaud" || key["expires_at"].(map[string]any)["$date"] != 1801353600000.0 {
		t.Errorf("the key is %v", key)
	}
	// Run it again with other roles: it reuses existing objects.
	_, calls = apiKey(t, dir, "virtrigaud", "FULL_ADMIN")
	if got := methods(calls); got != "privilege.update api_key.create" || !slices.Equal(texts(calls[0].body["roles"]), []string{"FULL_ADMIN"}) {
		t.Errorf("the second run calls %s: %v", got, calls[0].body)
	}
}

func texts(list any) []string {
	var out []string
	for _, item := range list.([]any) {
		out = append(out, item.(string))
	}
	slices.Sort(out)
	return out
}

// leastRoles returns the documented roles of all features that need no FULL_ADMIN.
func leastRoles(t *testing.T) []string {
	t.Helper()
	content, err := os.ReadFile("../docs/roles.md")
	if err != nil {
		t.Fatal(err)
	}
	roles := map[string]bool{}
	for _, row := range regexp.MustCompile(`(?m)^\| .* \| (.*) \|$`).FindAllStringSubmatch(string(content), -1) {
		for _, role := range regexp.MustCompile("`([A-Z_]+)`").FindAllStringSubmatch(row[1], -1) {
			roles[role[1]] = true
		}
	}
	delete(roles, "FULL_ADMIN")
	var least []string
	for role := range roles {
		if object, read := strings.CutSuffix(role, "_READ"); !read || !roles[object+"_WRITE"] {
			least = append(least, role)
		}
	}
	slices.Sort(least)
	return least
}
