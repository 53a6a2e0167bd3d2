// The viewer's configuration: images of this archive alone, nothing from elsewhere.
// What was compressed with loss says so on screen (PS3.3 C.7.6.1.1.5).
(function () {
  const isFrench = (navigator.language || 'en').toLowerCase().startsWith('fr');
  const text = isFrench
    ? { lossy: 'Compression avec perte', derived: 'image dérivée' }
    : { lossy: 'Lossy compression', derived: 'derived image' };
  const first = value => (Array.isArray(value) ? value[value.length - 1] : value);

  function lossyNotice(instance) {
    const ratio = Number(first(instance.LossyImageCompressionRatio));
    const shown = ratio > 1 ? ` ${ratio.toLocaleString(isFrench ? 'fr' : 'en', { maximumFractionDigits: 1 })}:1` : '';
    return `⚠ ${text.lossy}${shown}`;
  }

  window.config = {
    name: 'drimbox',
    routerBasename: "VIEWER",
    extensions: [],
    modes: [],
    showStudyList: true,
    maxNumberOfWebWorkers: 3,
    showWarningMessageForCrossOrigin: false,
    showCPUFallbackMessage: true,
    showLoadingIndicator: true,
    strictZSpacingForVolumeViewport: true,
    groupEnabled: false,
    investigationalUseDialog: { option: 'never' },
    customizationService: [
      {
        'viewportOverlay.topRight': {
          $push: [
            {
              id: 'LossyImageCompression',
              inheritsFrom: 'ohif.overlayItem',
              label: '',
              title: text.lossy,
              color: '#ffb454',
              background: 'rgba(0, 0, 0, 0.75)',
              condition: ({ instance }) => Boolean(instance && first(instance.LossyImageCompression) === '01'),
              contentF: ({ instance }) => lossyNotice(instance),
            },
          ],
        },
      },
    ],
    defaultDataSourceName: 'archive',
    dataSources: [
      {
        namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
        sourceName: 'archive',
        configuration: {
          friendlyName: 'drimbox-archive',
          name: 'archive',
          wadoUriRoot: "DICOMWEB",
          qidoRoot: "DICOMWEB",
          wadoRoot: "DICOMWEB",
          qidoSupportsIncludeField: true,
          imageRendering: 'wadors',
          thumbnailRendering: 'wadors',
          enableStudyLazyLoad: true,
          supportsFuzzyMatching: false,
          supportsWildcard: true,
          staticWado: false,
          singlepart: 'bulkdata,video',
          bulkDataURI: { enabled: true, relativeResolution: 'studies' },
          omitQuotationForMultipartRequest: true,
        },
      },
    ],
  };
})();
