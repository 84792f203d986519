package adapter_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// allowedImports draws the architecture: which of our packages each package may
// import. Imports run one way, and siblings know nothing of each other.
var allowedImports = map[string][]string{
	"mapping":                       {"mapping/jsonata"},
	"mapping/jsonata":               nil,
	"adapter":                       {"mapping"},
	"adapter/delivery":              {"adapter", "mapping"},
	"adapter/delivery/deliverytest": {"adapter", "mapping"}, // for tests
	"adapter/store":                 {"adapter", "mapping"},
	"adapter/saasquatch":            {"adapter", "mapping"},
	"adapter/archive":               nil,
	"adapter/archive/archivetest":   nil, // for tests
	"adapter/webhook":               {"adapter", "mapping"},
	"adapter/admin":                 {"adapter", "adapter/delivery", "mapping"},
	"adapter/replay":                {"adapter", "adapter/archive", "adapter/delivery", "mapping"},
	"adapter/replay/importjob": {
		"adapter", "adapter/delivery", "adapter/replay", "adapter/saasquatch", "mapping",
	},
	"adapter/migratecheck": {"mapping"},
	"adapter/sandbox":      nil,
	"adapter/config":       {"adapter", "mapping"},
	"adapter/httpserver":   nil,
	"adapter/replay/replaytest": { // for tests
		"adapter", "adapter/archive", "adapter/archive/archivetest", "adapter/delivery/deliverytest", "adapter/replay",
		"adapter/store", "mapping",
	},
	"cmd/segment-saasquatch": {
		"adapter", "adapter/admin", "adapter/archive", "adapter/config", "adapter/delivery", "adapter/httpserver",
		"adapter/migratecheck", "adapter/replay", "adapter/replay/importjob", "adapter/saasquatch", "adapter/sandbox",
		"adapter/store", "adapter/webhook", "mapping", "mapping/jsonata",
	},
}

// onlyIn names the packages that may import a library.
var onlyIn = map[string][]string{
	"database/sql":                  {"adapter/store"},
	"github.com/dlclark/regexp2/v2": {"mapping/jsonata"},
	"github.com/dop251/goja":        {"mapping/jsonata"},
	"github.com/aws/aws-sdk-go-v2/service/s3": {"adapter/archive",
		"adapter/archive/archivetest"},
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob": {"adapter/archive/archivetest"},
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container": {"adapter/archive",
		"adapter/archive/archivetest"},
	"golang.org/x/oauth2/google": {"adapter/archive"},
	"github.com/gin-gonic/gin":   {"adapter/webhook", "adapter/admin"},
	"go.uber.org/zap": {"adapter/webhook", "adapter/httpserver",
		"adapter/admin", "cmd/segment-saasquatch"},
	"net/http": {
		"adapter/archive", "adapter/archive/archivetest", "adapter/saasquatch", "adapter/webhook",
		"adapter/httpserver", "adapter/admin", "adapter/sandbox", "cmd/segment-saasquatch",
	},
}

// pure packages know no network, clock, environment, logger or context.
var pure = map[string][]string{
	"mapping":         impure,
	"mapping/jsonata": impure,
}

var impure = []string{"net", "net/http", "os", "context", "log", "log/slog", "go.uber.org/zap"}

func TestImports(t *testing.T) {
	const module = "segment-saasquatch/"
	files := token.NewFileSet()
	seen := make(map[string]bool)
	err := filepath.WalkDir("..", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return err
		}
		from := path.Dir(strings.TrimPrefix(filepath.ToSlash(file), "../"))
		allowed, known := allowedImports[from]
		if !known {
			t.Errorf("%s: package %s is not in the drawing", file, from)
		}
		seen[from] = true
		parsed, err := parser.ParseFile(files, file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range parsed.Imports {
			to, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if ours, ok := strings.CutPrefix(to, module); ok && !slices.Contains(allowed, ours) {
				t.Errorf("%s imports %s, which the drawing does not allow", file, ours)
			}
			if where, limited := onlyIn[to]; limited && !slices.Contains(where, from) {
				t.Errorf("%s imports %s, which belongs in %v", file, to, where)
			}
			if slices.Contains(pure[from], to) {
				t.Errorf("%s imports %s, but its package is pure", file, to)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for from, allowed := range allowedImports {
		isForTests := func(name string) bool { return strings.HasSuffix(name, "test") }
		if !isForTests(from) && slices.ContainsFunc(allowed, isForTests) {
			t.Errorf("the drawing lets %s import a package that is for tests", from)
		}
		if !seen[from] {
			t.Errorf("the drawing has a package %s that does not exist", from)
		}
	}
}
