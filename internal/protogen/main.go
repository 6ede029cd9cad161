// Protogen makes the Go code of .proto files, beside them. The compiler and its plugins
// are pinned in go.mod, so that it needs nothing installed but Go:
//
//	go -C internal/protogen run . -root ../../proto connectum/auth/v1/options.proto
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/bufbuild/protocompile"
	_ "google.golang.org/genproto/googleapis/api/annotations" // registers google/api/annotations.proto
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	log.SetFlags(0)
	root := flag.String("root", ".", "directory that the paths of the .proto files are relative to, and into which the Go code goes")
	imports := flag.String("imports", "", "further directories for imports, separated by commas")
	plugins := flag.String("plugins", "protoc-gen-go", "tools of go.mod to run, separated by commas")
	flag.Parse()
	if flag.NArg() == 0 {
		log.Fatal("which .proto files?")
	}
	dirs := append([]string{*root}, strings.FieldsFunc(*imports, func(r rune) bool { return r == ',' })...)
	if err := generate(context.Background(), dirs, strings.Split(*plugins, ","), flag.Args()); err != nil {
		log.Fatal(err)
	}
}

// generate compiles sources, found in the first of dirs, and runs the plugins on them.
func generate(ctx context.Context, dirs, plugins, sources []string) error {
	request, err := compile(ctx, dirs, sources)
	if err != nil {
		return err
	}
	input, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	for _, plugin := range plugins {
		if err := run(ctx, plugin, input, dirs[0]); err != nil {
			return fmt.Errorf("%s: %w", plugin, err)
		}
	}
	return nil
}

func compile(ctx context.Context, dirs, sources []string) (*pluginpb.CodeGeneratorRequest, error) {
	registered := protocompile.ResolverFunc(func(path string) (protocompile.SearchResult, error) {
		file, err := protoregistry.GlobalFiles.FindFileByPath(path)
		return protocompile.SearchResult{Desc: file}, err
	})
	compiler := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(protocompile.CompositeResolver{
			&protocompile.SourceResolver{ImportPaths: dirs}, registered,
		}),
		SourceInfoMode: protocompile.SourceInfoStandard, // comments
	}
	files, err := compiler.Compile(ctx, sources...)
	if err != nil {
		return nil, err
	}
	var all []*descriptorpb.FileDescriptorProto
	seen := map[string]bool{}
	for _, file := range files {
		all = withImports(all, file, seen)
	}
	return &pluginpb.CodeGeneratorRequest{FileToGenerate: sources, Parameter: new("paths=source_relative"), ProtoFile: all}, nil
}

// withImports appends file and all it imports, what is imported first.
func withImports(
	to []*descriptorpb.FileDescriptorProto, file protoreflect.FileDescriptor, seen map[string]bool,
) []*descriptorpb.FileDescriptorProto {
	if seen[file.Path()] {
		return to
	}
	seen[file.Path()] = true
	for i := range file.Imports().Len() {
		to = withImports(to, file.Imports().Get(i).FileDescriptor, seen)
	}
	return append(to, protodesc.ToFileDescriptorProto(file))
}

// run runs a plugin as protoc does.
func run(ctx context.Context, plugin string, input []byte, out string) error {
	command := exec.CommandContext(ctx, "go", "tool", plugin) //nolint:gosec // whoever runs this names it
	command.Stdin, command.Stderr = bytes.NewReader(input), os.Stderr
	output, err := command.Output()
	if err != nil {
		return err
	}
	var response pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(output, &response); err != nil {
		return err
	}
	if response.Error != nil {
		return fmt.Errorf("%s", response.GetError())
	}
	for _, file := range response.GetFile() {
		path := filepath.Join(out, filepath.FromSlash(file.GetName()))
		if err := os.WriteFile(path, []byte(file.GetContent()), 0o644); err != nil { //nolint:gosec // source code is for all to read
			return err
		}
	}
	return nil
}
