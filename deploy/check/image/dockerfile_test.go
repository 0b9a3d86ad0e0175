package image

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// repository is the build context of the image.
const repository = "../../.."

// A stage is a part of the Dockerfile from one FROM to the next.
type stage struct {
	text  string
	steps [][2]string // the instruction and its arguments, with joined lines
}

func readDockerfile(t *testing.T) []stage {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(repository, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	var stages []stage
	for line := range strings.Lines(strings.ReplaceAll(string(content), "\\\n", " ")) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if word == "FROM" {
			stages = append(stages, stage{})
		}
		if len(stages) == 0 || word == "" || strings.HasPrefix(word, "#") {
			continue
		}
		last := &stages[len(stages)-1]
		last.text += line
		last.steps = append(last.steps, [2]string{word, strings.TrimSpace(rest)})
	}
	if len(stages) != 3 || stages[1].steps[0][1] != "scratch AS truenas-sim" || stages[2].steps[0][1] != "scratch AS providers" {
		t.Fatalf("the Dockerfile has %d stages; want the compiler, truenas-sim and providers", len(stages))
	}
	return stages
}

// compile runs the steps of the first stage. It uses this host's tools instead of the compiler's image.
func compile(t *testing.T, s stage, root string) {
	t.Helper()
	source, out := filepath.Join(root, "src"), filepath.Join(root, "out")
	for _, dir := range []string{source, out, filepath.Join(root, "var/tmp"), filepath.Join(root, "etc/ssl/certs")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(root, "var/tmp"), 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	shell(t, repository, nil, "cp /etc/ssl/certs/ca-certificates.crt "+filepath.Join(root, "etc/ssl/certs"))
	env := []string{"TARGETOS=" + runtime.GOOS, "TARGETARCH=" + runtime.GOARCH, "VERSION=1.2.3", "COMMIT=0123abc"}
	for _, step := range s.steps {
		switch step[0] {
		case "COPY":
			shell(t, repository, nil, "cp -r "+copied(step[1], source))
		case "RUN":
			shell(t, source, env, strings.ReplaceAll(step[1], "/out/", out+"/"))
		case "FROM", "ARG", "WORKDIR":
		default:
			t.Fatalf("this test does not support %s", step[0])
		}
	}
}

// copied returns the arguments of a COPY with its target below a folder.
func copied(args, below string) string {
	words := strings.Fields(args)
	words[len(words)-1] = filepath.Join(below, words[len(words)-1])
	return strings.Join(words, " ")
}

func shell(t *testing.T, dir string, env []string, command string) string {
	t.Helper()
	cmd := exec.Command("sh", "-c", command)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}
