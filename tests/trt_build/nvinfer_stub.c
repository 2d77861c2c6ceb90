/* The nine functions that TensorRT's Python bindings ask of TensorRT's libraries.
 *
 * The bindings are ordinary packages; the libraries below them are not. Built under the libraries' names, this
 * file lets the bindings be imported without them. It has two ways to answer:
 *
 * - Alone, it creates nothing: a null pointer for everything, as TensorRT gives where there is no GPU.
 * - Where NVINFER_STUB_TENSORRT and NVINFER_STUB_PARSER name the libraries of TensorRT for RTX and of its ONNX
 *   parser, it passes every call on to them. These are of TensorRT 11's family: real networks, a real parser, a
 *   real builder, without a GPU. Version numbers are replaced by the library's own, for it refuses others.
 *   Only the bindings of TensorRT 11 fit; those of TensorRT 10 lay out their objects in another way.
 */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static void *open_library(const char *variable)
{
    const char *path = getenv(variable);
    void *library = path ? dlopen(path, RTLD_NOW | RTLD_GLOBAL) : NULL;
    if (path && !library) {
        fprintf(stderr, "%s\n", dlerror());
        exit(70);
    }
    return library;
}

static void *find(void *library, const char *name)
{
    void *function = library ? dlsym(library, name) : NULL;
    if (library && !function) {
        fprintf(stderr, "%s\n", dlerror());
        exit(70);
    }
    return function;
}

static void *tensorrt(const char *name)
{
    static void *library;
    if (!library)
        library = open_library("NVINFER_STUB_TENSORRT");
    return find(library, name);
}

static void *parser(const char *name)
{
    static void *library;
    tensorrt("getInferLibVersion"); /* the parser's library needs this one */
    if (!library)
        library = open_library("NVINFER_STUB_PARSER");
    return find(library, name);
}

static int version(void *function)
{
    int (*get)(void) = function;
    return get ? get() : 0;
}

static void *create(const char *name, void *logger)
{
    void *(*function)(void *, int) = tensorrt(name);
    return function ? function(logger, version(tensorrt("getInferLibVersion"))) : NULL;
}

void *createInferBuilder_INTERNAL(void *logger, int asked)
{
    return create("createInferBuilder_INTERNAL", logger);
}

void *createInferRefitter_INTERNAL(void *logger, int asked)
{
    return create("createInferRefitter_INTERNAL", logger);
}

void *createInferRuntime_INTERNAL(void *logger, int asked)
{
    return create("createInferRuntime_INTERNAL", logger);
}

int getNvOnnxParserVersion(void)
{
    return version(parser("getNvOnnxParserVersion"));
}

static void *create_parser(const char *name, void *subject, void *logger)
{
    void *(*function)(void *, void *, int) = parser(name);
    return function ? function(subject, logger, getNvOnnxParserVersion()) : NULL;
}

void *createNvOnnxParser_INTERNAL(void *network, void *logger, int asked)
{
    return create_parser("createNvOnnxParser_INTERNAL", network, logger);
}

void *createNvOnnxParserRefitter_INTERNAL(void *refitter, void *logger, int asked)
{
    return create_parser("createNvOnnxParserRefitter_INTERNAL", refitter, logger);
}

void *getPluginRegistry(void)
{
    void *(*function)(void) = tensorrt("getPluginRegistry");
    return function ? function() : NULL;
}

void *getBuilderPluginRegistry(int capability)
{
    return getPluginRegistry();
}

bool initLibNvInferPlugins(void *logger, const char *names)
{
    return true;
}
